import numpy as np
import pytest
from own_images import write

from mmdensenet.apis.fit.class_folders import read_class_folders
from mmdensenet.errors import UserError


def blank(root, *files):
    for file in files:
        write(root / file, np.zeros((8, 8), np.uint8))
    return str(root)


def test_class_folders_with_and_without_parts(tmp_path):
    flat = blank(
        tmp_path / 'flat', 'cat/1.png', 'cat/deep/2.png', 'dog/1.jpg', '.cache/x.png', '__MACOSX/y.png', 'z.png'
    )
    samples = read_class_folders(flat)
    assert samples.files == ['cat/1.png', 'cat/deep/2.png', 'dog/1.jpg']
    assert samples.classes == ['cat', 'dog']
    assert samples.targets.tolist() == [0, 0, 1]
    assert samples.parts is None
    assert any('1 images are in no class folder' in fact for fact in samples.facts)
    given = blank(tmp_path / 'given', 'Training/cat/1.png', 'Training/dog/1.png', 'valid/cat/2.png', 'valid/dog/3.png')
    samples = read_class_folders(given)
    assert samples.parts == ['train', 'train', 'val', 'val']
    assert samples.targets.tolist() == [0, 1, 0, 1]
    (tmp_path / 'given' / 'work_dirs').mkdir()
    assert read_class_folders(given).parts == samples.parts, 'a folder without images is no class'
    (tmp_path / 'given/valid/dog/3.png').unlink()
    assert read_class_folders(given, ['dog', 'cat']).targets.tolist() == [1, 0, 1], (
        'a part may lack a class that is named'
    )
    assert read_class_folders(flat, ['dog', 'cat']).targets.tolist() == [1, 1, 0]


@pytest.mark.parametrize(
    ('files', 'message'),
    [
        (
            ['train/cat/1.png', 'train/dog/1.png', 'val/kat/1.png', 'val/dog/2.png'],
            'likely one class, spelt differently',
        ),
        (
            ['cat/1.png', 'Cat/2.png', 'dog/1.png'],
            "the folder 'Cat' .* is likely 'cat'|the folder 'cat' .* likely 'Cat'",
        ),
        (['cat/1.png'], 'has one class folder'),
        (['pets/cat/1.png', 'pets/dog/1.png', 'pets/dog/2.png'], 'has one folder, pets, with cat, dog in it: .*/pets'),
        (['pets/train/cat/1.png', 'pets/test/dog/1.png'], 'has one folder, pets, with test, train in it: .*/pets'),
        ([f'train/patient{i}/1.png' for i in range(4)], 'has 4 folders for 4 images, so that they are no classes'),
        (['train/cat/1.png', 'train/dog/1.png', 'extra/cat/2.png'], "the folder 'train', a part, beside 'extra'"),
        (['cat/1.png', 'dog/1.png', 'test/1.png'], "the folder 'test', a part, beside 'cat'"),
        (['cat/train/1.png', 'cat/test/2.png', 'dog/train/1.png'], 'has test, train inside the folders of classes'),
        (
            [f'{site}/{name}/1.png' for site in 'ab' for name in ('cat', 'dog')],
            'has the same folders, cat, dog, in each of a, b: which are the classes cannot be known',
        ),
        (
            ['train/cat/1.png', 'train/dog/1.png', 'test/cat/2.png'],
            "the part test lacks 'dog'.* If that is right, name all classes, labels=A,B,C",
        ),
        (['1.png', '2.png'], 'has 2 images but no class folders'),
        (
            ['images/1.png', 'images/2.png', 'masks/1.png', 'masks/2.png'],
            "images, masks, and 'images' is likely no class",
        ),
        (['images/1.png', 'images/2.png'], "'images' is likely no class"),
    ],
)
def test_folders_that_are_no_classes(tmp_path, files, message):
    with pytest.raises(UserError, match=message):
        read_class_folders(blank(tmp_path, *files))


def test_empty_folders_are_said(tmp_path):
    flat = blank(tmp_path / 'flat', 'cat/1.png', 'dog/1.png')
    given = blank(tmp_path / 'given', 'train/cat/1.png', 'train/dog/1.png', 'test/cat/2.png', 'test/dog/3.png')
    for folder in (
        'flat/owl',
        'given/train/owl',
        'given/train/.cache',
        'given/valid/cat',
        'given/notes',
        'flat/cat/deep',
    ):
        (tmp_path / folder).mkdir(parents=True)
    assert 'no image is in the folder owl: no class' in read_class_folders(flat).facts
    assert 'no image is in the folder train/owl, valid: no part or class' in read_class_folders(given).facts


def test_a_work_directory_among_the_classes_is_none(tmp_path):
    root = blank(tmp_path, 'cat/1.png', 'dog/1.png')
    before = read_class_folders(root)
    for folder in ('work', 'work_dirs/fit_pets', 'cat/work'):
        blank(tmp_path / folder, 'training/curves.png')
        (tmp_path / folder / 'pictures.jsonl').touch()
    blank(tmp_path, 'work_dirs/trained/curves.png')
    found = read_class_folders(root)
    assert (found.files, found.facts) == (before.files, before.facts)
    (tmp_path / 'pictures.jsonl').touch()
    assert read_class_folders(root).files == before.files, 'what is given is looked at'


def test_a_folder_with_a_table_says_how_to_give_it(tmp_path):
    root = blank(tmp_path, '1.png')
    (tmp_path / 'labels.csv').write_text('image,label\n')
    with pytest.raises(UserError, match=r'but a table: give .*labels.csv, with images='):
        read_class_folders(root)
    (tmp_path / 'empty').mkdir()
    with pytest.raises(UserError, match='has no images'):
        read_class_folders(str(tmp_path / 'empty'))


def test_kinds_of_files_that_are_not_read_are_said(tmp_path):
    root = blank(tmp_path, 'a/1.png', 'b/1.png', 'a/2.png', 'b/2.png')
    for name in ('a/x.HEIC', 'a/y.gif', 'b/z.nii.gz', 'b/w.nii.gz', 'a/notes.txt', 'a/._hidden.gif'):
        (tmp_path / name).write_bytes(b'1')
    facts = read_class_folders(root).facts
    assert '2 .nii.gz, 1 .heic, 1 .gif files are of kinds that are not read: convert them to PNG or DICOM' in facts or (
        '2 .nii.gz, 1 .gif, 1 .heic files are of kinds that are not read: convert them to PNG or DICOM' in facts
    )
    for file in tmp_path.rglob('*.png'):
        file.unlink()
    with pytest.raises(UserError, match=r'has no images in its folders a, b. 2 .nii.gz.* are not read: convert them'):
        read_class_folders(root)
