"""tools/verify_dataset.py on folders with everything that can be wrong."""

import io
import json
import os
import shutil
import sys

import numpy as np
import pytest
from conftest import DIGITS, write_images
from helpers import write_dicom
from PIL import Image


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
    assert 'reading 60 images ...' in done.err


def test_a_validation_part_without_labels(verify):
    """Training refuses it; a test part may have none."""
    extra = "test_dataloader['dataset'].update(with_label=False)"
    assert 'no labels' not in verify('--workers', '0', extra=extra).out
    done = verify('--workers', '0', extra=extra.replace('test', 'val', 1))
    assert done.status == 1 and 'parts have no labels' in done.out and '  val: ' in done.out


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
    assert done.out.endswith('train: 1,347 images; val, test: 450 images\nNothing is wrong.\n'), done.out
    assert done.status == 0


def test_mistakes(run_tool, verify, tmp_path):
    done = run_tool('verify_dataset.py', 'nope.py')
    assert done.status == 2 and 'nope.py does not exist' in done.err
    done = verify('--workers', '-1')
    assert done.status == 2 and '--workers -1' in done.err
    done = verify(test='nowhere')
    assert done.status == 2 and 'nowhere does not exist' in done.err


ONE = "dict(**data, data_prefix='train')"
REPEATED = f"dict(type='RepeatDataset', times=3, dataset={ONE})"
BALANCED = f"dict(type='ClassBalancedDataset', oversample_thr=0.9, dataset={ONE})"
JOINED = f"dict(type='RepeatDataset', times=2, dataset=dict(type='ConcatDataset', datasets=[{ONE}, {ONE}]))"


@pytest.mark.parametrize('wrapped', [REPEATED, BALANCED, JOINED])
def test_wrapped_data_sets_are_read_once(verify, folders, wrapped):
    """Their images are not duplicates of themselves, and their labels are checked."""
    extra = f"train_dataloader['dataset'] = dict({wrapped}, _delete_=True)"
    done = verify('--workers', '0', extra=extra)
    assert done.status == 0 and 'train: 36 images' in done.out, done.out + done.err
    done = verify('--workers', '0', '--show', '0', head=2, extra=extra)
    assert done.status == 1
    assert f'train: {folders}/train/class_2/0.jpg has label 2, outside 0 to 1' in done.out


def test_a_file_that_is_listed_twice(verify, folders):
    (folders / 'a.csv').write_text(
        'image,label\n' + ''.join(f'class_{i}/0.jpg,class_{k}\n' for i, k in ((0, 0), (1, 1), (2, 2), (0, 1)))
    )
    listed = f"type='mmdensenet.CSVDataset', ann_file='a.csv', data_root={str(folders)!r}, label_column='label'"
    extra = f"train_dataloader['dataset'] = dict({listed}, data_prefix='train', pipeline=[], _delete_=True)"
    done = verify('--workers', '0', extra=extra)
    assert done.status == 1 and f'train: {folders}/train/class_0/0.jpg is listed 2 times' in done.out, done.out


def test_images_are_read_as_training_reads_them(verify, folders):
    """By the loading step of each data set's own pipeline, inside a wrapper too."""
    for split, first in (('train', 0), ('test', 100)):
        for label in range(3):
            for i in range(8):
                pixels = np.full((5, 5), first + 10 * label + i, np.uint16)
                write_dicom(folders / f'{split}/class_{label}/{i}.dcm', pixels)
    dicom = "data.update(extensions=('.dcm',), pipeline=[dict(type='mmdensenet.LoadGreyImage', window='full')])\n"
    entry = "{0}_dataloader['dataset'] = dict(**data, data_prefix='{1}', _delete_=True)\n"
    extra = dicom + ''.join(entry.format(*names) for names in (('train', 'train'), ('val', 'test'), ('test', 'test')))
    done = verify('--workers', '0', extra=extra)
    assert done.status == 0 and 'train: 24 images; val, test: 24 images' in done.out, done.out

    extra = "data['pipeline'] = [dict(type='mmdensenet.LoadImage', max_pixels=100)]\n"
    done = verify('--workers', '0', extra=f"{extra}train_dataloader['dataset'] = dict({REPEATED}, _delete_=True)")
    assert done.status == 1 and '36 images cannot be read' in done.out and 'more than max_pixels=100' in done.out


def test_a_name_in_no_encoding(verify, folders, monkeypatch):
    name = os.fsencode(folders / 'train/class_0') + b'/\xff\xe9.jpg'
    with open(name, 'wb') as file:
        Image.fromarray(np.full((9, 9, 3), 7, np.uint8)).save(file, format='jpeg')
    os.truncate(name, 200)
    written = io.BytesIO()
    monkeypatch.setattr(sys, 'stdout', io.TextIOWrapper(written, encoding='utf-8', errors='strict'))
    done = verify('--workers', '0')
    sys.stdout.flush()
    assert done.status == 1 and b'class_0/\\udcff\\udce9.jpg (it is' in written.getvalue(), done.err


def test_the_file_of_out_is_tried_first(verify, folders, tmp_path):
    done = verify('--workers', '0', '--out', tmp_path / 'new/folder/r.json')
    assert done.status == 0 and json.loads((tmp_path / 'new/folder/r.json').read_text())['problems'] == {}
    done = verify('--workers', '0', '--out', folders)
    assert done.status == 2 and str(folders) in done.err and 'images' not in done.err, done.err


def test_a_process_that_is_killed(verify, monkeypatch):
    monkeypatch.setattr('mmdensenet.datasets.LoadImage.transform', lambda self, results: os._exit(9))
    done = verify('--workers', '2')
    assert done.status == 2 and 'a process that reads images was killed' in done.err, done.err
    assert len(done.err[done.err.index('error: ') :].splitlines()) == 1


def test_patients_in_several_splits_and_a_validation_part_without_positives(run_tool, tmp_path):
    rows = ['image,patient,part,A,B']
    rng = np.random.default_rng(0)
    for i in range(18):
        Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save(tmp_path / f'{i}.png')
        part = ('train', 'val', 'test')[i % 3]
        labels = '0,0' if part == 'val' else f'{i % 2},{i // 6 % 2}'
        rows.append(f'{i}.png,P{i // 3 if i < 6 else i},{part},{labels}')
    (tmp_path / 'labels.csv').write_text('\n'.join(rows))
    config = tmp_path / 'c.py'
    config.write_text(f"""
_base_ = 'mmdensenet::densenet121_1xb32_csv.py'
s = dict(data_root={str(tmp_path)!r}, data_prefix='', label_columns=['A', 'B'], split_by=None, split_column='part')
s['group_column'] = 'patient'
train_dataloader = dict(dataset=s)
val_dataloader = dict(dataset=s)
test_dataloader = dict(dataset=s)
model = dict(
    backbone=dict(arch=dict(_delete_=True, growth_rate=4, depths=(1, 1), init_channels=8)),
    head=dict(num_classes=2, in_channels=10))
data_preprocessor = dict(num_classes=2)
load_from = None
train_cfg = dict(max_epochs=1)
""")
    done = run_tool('verify_dataset.py', config, '--workers', '0', '--out', tmp_path / 'r.json')
    assert done.status == 1, done.err
    problems = json.loads((tmp_path / 'r.json').read_text())['problems']
    assert problems['group across splits'] == [
        f'P{i // 3}, such as train: {tmp_path}/{i}.png, val: {tmp_path}/{i + 1}.png, test: {tmp_path}/{i + 2}.png'
        for i in (0, 3)
    ]
    assert [line for line in problems['empty'] if line.startswith('val')] == [
        'val: class 0 (A) has no image',
        'val: class 1 (B) has no image',
    ]
    assert '2 groups, such as patients, are in several splits:' in done.out
    done = run_tool('train.py', config, '--work-dir', tmp_path / 'w')
    assert done.status == 2 and 'val_dataloader: no label has both images with it and images without' in done.err
    assert not list((tmp_path / 'w').glob('*.pth'))


def test_a_patient_of_two_tables(verify, folders, tmp_path):
    """Spelt otherwise in the second; another one has the digits of a third within its id."""
    for part, patients in (('train', ('P07', '3', 'a1b2')), ('test', ('p7', 'P8', 'a1b02'))):
        files = [next((folders / part / f'class_{i}').glob('*.*')) for i in range(3)]
        rows = [f'{file},class_{i},{patient}' for i, (file, patient) in enumerate(zip(files, patients))]
        (tmp_path / f'{part}.csv').write_text('\n'.join(['image,label,patient', *rows]))
    extra = f"""
table = dict(type='mmdensenet.CSVDataset', label_column='label', group_column='patient', _delete_=True,
             pipeline=[dict(type='LoadImageFromFile')])
train_dataloader = dict(dataset=dict(ann_file={str(tmp_path / 'train.csv')!r}, **table))
val_dataloader = dict(dataset=dict(ann_file={str(tmp_path / 'test.csv')!r}, **table))
test_dataloader = val_dataloader
"""
    done = verify('--workers', '0', '--out', tmp_path / 'r.json', extra=extra)
    assert done.status == 1, done.err
    [line] = json.loads((tmp_path / 'r.json').read_text())['problems']['group across splits']
    assert line.startswith(f'P07 and p7, likely one, such as train: {folders}/train/class_0/'), line


def test_12_bits_in_files_of_16(verify, folders):
    rng = np.random.default_rng(0)
    for split in ('train', 'test'):
        for label in range(3):
            for i in range(4):
                pixels = rng.integers(0, 4096 if split == 'train' else 65536, (6, 6), dtype=np.uint16)
                Image.fromarray(pixels).save(folders / f'{split}/class_{label}/{i}.png')
    for load in ("dict(type='LoadImageFromFile')", "dict(type='mmdensenet.LoadGreyImage', window='full')"):
        extra = f"data.update(extensions=('.png',), pipeline=[{load}])\n" + ''.join(
            f"{part}_dataloader['dataset'] = dict(**data, data_prefix='{folder}', _delete_=True)\n"
            for part, folder in (('train', 'train'), ('val', 'test'), ('test', 'test'))
        )
        done = verify('--workers', '0', extra=extra)
        assert done.status == 1, done.out + done.err
        assert 'train: no pixel of its 12 16-bit images is above 4095, so that they are loaded 16 times' in done.out
        assert 'window=(0, 4095)' in done.out and 'val, test: no pixel' not in done.out
    wanted = extra.replace("window='full'", 'window=(0, 4095)')
    assert verify('--workers', '0', extra=wanted).status == 0
