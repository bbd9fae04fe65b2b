"""tools/verify_dataset.py on folders with everything that can be wrong."""

import json
import os
import shutil

import pytest
from conftest import DIGITS, write_images


@pytest.fixture
def folders(tmp_path):
    write_images(tmp_path / 'data/train', classes=3, per_class=12, seed=0)
    write_images(tmp_path / 'data/test', classes=3, per_class=8, seed=1)
    return tmp_path / 'data'


@pytest.fixture
def verify(run_tool, folders, tmp_path):
    def run(*options, head=3, test='test', extra=''):
        config = tmp_path / 'folder.py'
        config.write_text(
            f"""
_base_ = {str(DIGITS)!r}
model = dict(head=dict(num_classes={head}))
data = dict(type='CustomDataset', data_root={str(folders)!r}, pipeline=[dict(type='LoadImageFromFile')])
train_dataloader = dict(dataset=dict(**data, data_prefix='train', _delete_=True))
val_dataloader = dict(dataset=dict(**data, data_prefix={test!r}, _delete_=True))
test_dataloader = dict(dataset=dict(**data, data_prefix={test!r}, _delete_=True))
{extra}
"""
        )
        return run_tool('verify_dataset.py', config, *options)

    return run


@pytest.mark.parametrize('workers', ['0', '2'])
def test_nothing_is_wrong(verify, workers):
    done = verify('--workers', workers)
    assert done.status == 0, done.out + done.err
    assert done.out.endswith('train: 36 images; val, test: 24 images\nNothing is wrong.\n')
    assert '60 of 60 images' in done.err


@pytest.mark.parametrize('workers', ['0', '2'])
def test_everything_is_wrong(verify, folders, tmp_path, workers):
    (folders / 'train/class_0/3.jpg').write_bytes(b'')
    os.truncate(folders / 'test/class_1/0.jpg', 300)
    shutil.copy(folders / 'train/class_1/1.jpg', folders / 'train/class_2/copy.jpg')
    shutil.copy(folders / 'train/class_0/1.jpg', folders / 'test/class_0/copy.jpg')
    done = verify('--workers', workers, '--out', tmp_path / 'r.json', head=4)
    assert done.status == 1, done.out + done.err
    problems = json.loads((tmp_path / 'r.json').read_text())['problems']
    t = f'train: {folders}/train'
    v = f'val, test: {folders}/test'
    assert problems['unreadable'] == [
        f'{t}/class_0/3.jpg (the file is empty)',
        f'{v}/class_1/0.jpg (it is cut short or damaged)',
    ]
    assert problems['duplicate'] == [f'{t}/class_1/1.jpg = {t}/class_2/copy.jpg']
    assert problems['duplicate across splits'] == [f'{t}/class_0/1.jpg = {v}/class_0/copy.jpg']
    assert problems['head'] == [
        f'{name}: the data set has 3 classes, and model.head.num_classes is 4' for name in ('train', 'val, test')
    ]
    assert problems['empty'] == [f'{name}: class 3 has no image' for name in ('train', 'val, test')]
    for text in ('2 images cannot be read:', '1 images are in several splits:', '2 classes have no image:'):
        assert text in done.out


def test_labels_outside_the_classes(verify, folders):
    done = verify('--show', '2', head=2)
    assert done.status == 1
    assert f'train: {folders}/train/class_2/0.jpg has label 2, outside 0 to 1' in done.out
    assert '20 labels are outside the classes:' in done.out and 'and 18 more (--show 0, or --out FILE)' in done.out


def test_an_empty_class_has_its_name(verify, folders):
    for path in (folders / 'test/class_1').iterdir():
        path.unlink()
    classes = "{}_dataloader['dataset']['metainfo'] = dict(classes=['class_0', 'class_1', 'class_2'])\n"
    done = verify(extra=''.join(classes.format(name) for name in ('train', 'val', 'test')))
    assert done.status == 1
    assert 'val, test: class 1 (class_1) has no image' in done.out


def test_images_that_are_in_no_file(run_tool):
    """Their pixels are compared: scikit-learn's digits have no duplicates."""
    done = run_tool('verify_dataset.py', DIGITS, '--workers', '0')
    assert done.out.endswith('train: 1347 images; val, test: 450 images\nNothing is wrong.\n'), done.out
    assert done.status == 0


def test_mistakes(run_tool, verify, tmp_path):
    done = run_tool('verify_dataset.py', 'nope.py')
    assert done.status == 2 and 'nope.py does not exist' in done.err
    done = verify('--workers', '-1')
    assert done.status == 2 and '--workers -1' in done.err
    done = verify(test='nowhere')
    assert done.status == 2 and 'nowhere does not exist' in done.err
