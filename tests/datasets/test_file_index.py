import pytest
from own_images import write

from mmdensenet.datasets.file_index import FileIndex
from mmdensenet.errors import UserError


@pytest.fixture
def root(tmp_path):
    import numpy as np

    for file in ('a/1.png', 'b/1.png', 'b/2.jpg', '3.0.1.dcm.png', '4.png', '.hidden/5.png', '__MACOSX/6.png'):
        write(tmp_path / file, np.full((2, 2), len(file) + ord(file[0]), np.uint8))
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
        ('2.png', None),  # there are files called .png: it is missing, and 2.jpg may be its mask
        ('2.JPG', 'b/2.jpg'),
        (r'd:\B\2.Jpg', 'b/2.jpg'),
        ('C/2.jpg', None),
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


def test_capitals_matter_where_both_ways_are_there_and_copies_are_one(tmp_path):
    for file in ('A/x.png', 'a/x.png', 'one/IMG_2.PNG', 'two/img_2.png', 'part_1/3.png', 'Part_1/3.png'):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(file if '3' not in file else 'the same')
    index = FileIndex(tmp_path)
    assert [index.find(text) for text in ('old/a/x', 'old/A/x', 'IMG_2')] == ['a/x.png', 'A/x.png', 'one/IMG_2.PNG']
    assert index.find('3') == 'Part_1/3.png'
    with pytest.raises(UserError, match=r'Img_2 is one/IMG_2.PNG as well as two/img_2.png'):
        index.find('Img_2')


def test_dicom_as_scanners_call_it(tmp_path):
    import os

    for name in ('IM000001', '1.2.840.113619', 'DICOMDIR', 'a.txt', '.IM2'):
        (tmp_path / name).write_bytes(bytes(128) + b'DICM')
    (tmp_path / 'README').write_text('no image')
    os.mkfifo(tmp_path / 'pipe')
    assert FileIndex(tmp_path).files == ['1.2.840.113619', 'IM000001']
    assert FileIndex(tmp_path).find('1.2.840.113619.dcm') == '1.2.840.113619'
