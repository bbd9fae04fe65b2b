"""mmdensenet.output: a file is found to be writable before the work, not after."""

import errno

import pytest

from mmdensenet.errors import UserError
from mmdensenet.output import output_file, writing


def test_the_folder_is_made_and_nothing_is_left(tmp_path):
    file = output_file(tmp_path / 'a' / 'b' / 'page.HTML', ('.html', '.htm'))
    assert file == tmp_path / 'a' / 'b' / 'page.HTML' and not list(file.parent.iterdir())


def test_an_older_file_stays(tmp_path):
    (tmp_path / 'x.png').write_text('older')
    output_file(tmp_path / 'x.png', ('.png',))
    assert (tmp_path / 'x.png').read_text() == 'older'


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('x.txt', r'^out=.*x\.txt: the name must end in \.png or \.svg\.$'),
        ('folder.png', r'^out=.*folder\.png cannot be written \(Is a directory\): give another\.$'),
        ('file/x.png', r'^out=.*x\.png cannot be written \((Not a directory|File exists)\)'),
    ],
)
def test_what_cannot_be_written(tmp_path, name, message):
    (tmp_path / 'folder.png').mkdir()
    (tmp_path / 'file').touch()
    with pytest.raises(UserError, match=message):
        output_file(tmp_path / name, ('.png', '.svg'))


def test_reasons_while_writing(tmp_path):
    no_room = r'\(No space left on device\): make room, or give another\.$'
    with pytest.raises(UserError, match=no_room), writing(tmp_path / 'x'):
        raise OSError(errno.ENOSPC, 'No space left on device')
    with pytest.raises(UserError, match=r'\(big\): raise the limit \(ulimit -f\), or give'), writing(tmp_path / 'x'):
        raise OSError(errno.EFBIG, 'big')
    with pytest.raises(UserError, match=r'\(is the disk full\?\)'), writing(tmp_path / 'x'):
        raise RuntimeError('a library without a reason')
    with pytest.raises(KeyError), writing(tmp_path / 'x'):
        raise KeyError('a fault of the program')
