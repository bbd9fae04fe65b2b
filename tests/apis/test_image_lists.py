"""Names of images on a command line."""

import pytest

from mmdensenet.apis.image_lists import expand
from mmdensenet.errors import UserError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / 'a b').mkdir()
    for name in ('1.png', 'a b/2.dcm', 'a b/3.JPG', 'notes.txt'):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path / 'a b')
    return tmp_path


def test_a_folder_is_searched(folder):
    (folder / 'a b/._1.png').touch()  # macOS leaves them on other file systems
    assert expand(folder) == [str(folder / '1.png'), str(folder / 'a b/2.dcm'), str(folder / 'a b/3.JPG')]


def test_tables_and_lists(folder):
    table = folder / 'list.csv'
    table.write_text('\ufefflabel,image\ncat,1.png\n,"a b/2.dcm"\ndog,3.JPG\nbird,https://example.org/4.png\n')
    paths = [str(folder / '1.png'), str(folder / 'a b/2.dcm'), '3.JPG', 'https://example.org/4.png']
    assert expand(table) == paths, 'beside the table, then in the current folder'
    (folder / 'list.txt').write_text(f'1.png\n\na b/2.dcm\n{folder}/a b/3.JPG\n')
    assert expand(str(folder / 'list.txt')) == [*paths[:2], f'{folder}/a b/3.JPG']


def test_urls_of_files(folder):
    assert expand(f'file://{folder}/a%20b/2.dcm') == expand(f'file://localhost{folder}/a%20b/2.dcm')
    assert expand(f'file://{folder}/a%20b/2.dcm') == [str(folder / 'a b/2.dcm')]
    assert expand('https://example.org/1.png') == ['https://example.org/1.png']
    with pytest.raises(UserError, match=r'is on another machine \(host\)'):
        expand('file://host/1.png')


def test_a_name_that_begins_with_a_tilde(folder):
    """Nobody is called so: it is the file's own name."""
    (folder / 'a b/~.no such user.png').touch()
    assert expand('~.no such user.png') == ['~.no such user.png']


def test_patterns(folder):
    """As no shell of Windows expands them, nor any in quotes."""
    assert expand('*.dcm') == ['2.dcm'] and expand(f'{folder}/**/[23].*') == [
        f'{folder}/a b/2.dcm',
        f'{folder}/a b/3.JPG',
    ]
    (folder / 'a b/x?*.png').touch()
    assert expand('x?*.png') == ['x?*.png'], 'a file of this name'
    for pattern in ('*.tif', '[2].dcm'):
        with pytest.raises(UserError, match='does not exist'):
            expand(pattern)


def test_schemes(folder):
    assert expand('HTTPS://example.org/A.png') == ['https://example.org/A.png']
    (folder / 'l.txt').write_text('ftp://example.org/1.png\n')
    for item in ('ftp://example.org/1.png', folder / 'l.txt'):
        with pytest.raises(UserError, match=r'ftp://example\.org/1\.png has a scheme that is not known'):
            expand(item)


@pytest.mark.parametrize('name', ['', ' '])
def test_nothing_is_not_the_current_folder(folder, name):
    with pytest.raises(UserError, match='empty name'):
        expand(name)


@pytest.mark.parametrize(
    ('name', 'content', 'message'),
    [
        ('a.csv', 'name,label\n1.png,2\n', r"a\.csv has the columns 'name', 'label'; the one with the paths must be"),
        ('a.csv', 'image\n1.png\n9.png\n', r'a\.csv, row 3: 9\.png does not exist, neither beside'),
        ('a.csv', '', r'a\.csv has the columns '),
        ('a.csv', b'image\n\xff.png\n', r'a\.csv, row 2: ÿ\.png does not exist'),
        ('a.txt', '\n\n', r'a\.txt lists no images'),
        ('a.txt', 'a b\n', r'a\.txt, row 1: a b does not exist'),
        (None, None, r'a\.txt does not exist'),
    ],
)
def test_mistakes(folder, name, content, message):
    if name is not None:
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=message):
        expand(folder / (name or 'a.txt'))
