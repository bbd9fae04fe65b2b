import pytest
from own_images import write

from mmdensenet.datasets.file_index import FileIndex
from mmdensenet.errors import UserError


@pytest.fixture
def root(tmp_path):
    import numpy as np

    for file in ('a/1.png', 'b/1.png', 'b/2.jpg', '3.0.1.dcm.png', '4.png', '.hidden/5.png', '__MACOSX/6.png'):
        write(tmp_path / file, np.zeros((2, 2), np.uint8))
    (tmp_path / 'notes.txt').write_text('no image')
    (tmp_path / 'a' / 'loop').symlink_to(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ('text', 'file'),
    [
        ('a/1.png', 'a/1.png'),
        (r'C:\data\b\1.png', 'b/1.png'),
        ('./b/2.jpg', 'b/2.jpg'),
        ('/elsewhere/b/2.jpg', 'b/2.jpg'),
        ('2', 'b/2.jpg'),
        ('2.jpg', 'b/2.jpg'),
        ('2.dcm', 'b/2.jpg'),
        ('x/y/4.png', '4.png'),
        ('3.0.1.dcm', '3.0.1.dcm.png'),
        ('c/2.jpg', None),  # of another folder: patient2/view1 is not patient1/view1
        ('5', None),
        ('6', None),
        ('', None),
        ('notes', None),
    ],
)
def test_find(root, text, file):
    assert FileIndex(root).find(text) == file


def test_the_longest_end_of_a_path_and_accents_as_they_look(tmp_path):
    import numpy as np

    for file in ('1.png', 'old/train/1.png', 'e\u0301t\u0061/2.png'):
        write(tmp_path / file, np.zeros((2, 2), np.uint8))
    index = FileIndex(tmp_path)
    assert index.find('train/1.png') == 'old/train/1.png', 'not the file of that name in another folder'
    assert index.find('other/1.png') is None
    assert index.find('1.png') == '1.png'
    assert index.find('\u00e9ta/2') == 'e\u0301ta/2.png'


def test_what_is_ambiguous_and_what_is_not_there(root):
    with pytest.raises(UserError, match=r'1 is a/1.png as well as b/1.png below .*: write the folder'):
        FileIndex(root).find('1')
    with pytest.raises(UserError, match='there is no such folder'):
        FileIndex(root / 'none')
