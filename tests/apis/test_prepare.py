"""Copies of data sets in shards: their images, labels and names, and a call that goes on."""

import json
import tarfile

import numpy as np
import pytest
from conftest import DIGITS, write_images
from helpers import assert_equal, load_weights
from mmengine import fileio
from PIL import Image
from prepared_folders import LOAD, config, folder

from mmdensenet.apis.prepare import prepare_dataset
from mmdensenet.datasets import LoadImage, ShardDataset
from mmdensenet.errors import BadImageError, UserError


def bytes_of(dataset) -> list[bytes]:
    return [fileio.get(dataset.get_data_info(i)['img_path']) for i in range(len(dataset))]


def smooth(height: int, width: int, seed: int = 0) -> Image.Image:
    small = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def test_larger_images_are_made_smaller_and_stay_upright(tmp_path):
    (tmp_path / 'train/a').mkdir(parents=True)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    smooth(64, 96).save(tmp_path / 'train/a/0.jpg', quality=95)
    smooth(64, 96).save(tmp_path / 'train/a/1.jpg', quality=95, exif=exif)
    smooth(30, 32).save(tmp_path / 'train/a/2.jpg', quality=95, exif=exif)
    smooth(64, 96).convert('L').save(tmp_path / 'train/a/3.jpg', quality=95)
    smooth(96, 200).save(tmp_path / 'train/a/4.png')
    cfg = config(folder(tmp_path), val_dataloader=dict(dataset=folder(tmp_path)))
    prepare_dataset(cfg, tmp_path / 't', short_side=32, workers=0)
    shards = ShardDataset(str(tmp_path / 't'), pipeline=[LoadImage()])
    images = [sample['img'] for sample in shards]
    assert [image.shape for image in images] == [(32, 48, 3), (48, 32, 3), (32, 30, 3), (32, 48, 3), (32, 67, 3)]
    contents = bytes_of(shards)
    assert contents[2] == (tmp_path / 'train/a/2.jpg').read_bytes()
    assert (images[3] == images[3][..., :1]).all(), 'grey stays grey'
    # turned once: the same picture as the one that lies
    assert np.abs(np.rot90(images[1]).astype(int) - images[0]).mean() < 2
    whole = LoadImage()(dict(img_path=str(tmp_path / 'train/a/0.jpg')))['img'].astype(float)
    assert np.abs(whole.reshape(32, 2, 48, 2, 3).mean((1, 3)) - images[0]).mean() < 2
    # a model is judged on images as they are
    originals = [(tmp_path / 'train/a' / name).read_bytes() for name in ('0.jpg', '1.jpg', '2.jpg', '3.jpg', '4.png')]
    assert bytes_of(ShardDataset(str(tmp_path / 't'), 'val')) == originals


def test_what_a_jpeg_cannot_hold_is_refused_by_name(tmp_path):
    (tmp_path / 'train/a').mkdir(parents=True)
    Image.fromarray(np.full((40, 40), 3000, np.uint16)).save(tmp_path / 'train/a/deep.png')
    with pytest.raises(UserError, match=r'deep\.png may have more than the 8 bits of a JPEG: .*raw=True'):
        prepare_dataset(config(folder(tmp_path)), tmp_path / 't', short_side=32, workers=0)
    assert not list((tmp_path / 't').glob('*.tar'))
    loader = [dict(type='LoadImageFromFile', color_type='unchanged')]
    with pytest.raises(UserError, match='reads files with LoadImage as they are'):
        prepare_dataset(config(folder(tmp_path, pipeline=loader)), tmp_path / 't', workers=0)
    (tmp_path / 'train/a/deep.png').write_bytes(b'no image')
    with pytest.raises(BadImageError, match=r'deep\.png cannot be read as an image.*it is not an image'):
        prepare_dataset(config(folder(tmp_path)), tmp_path / 't', short_side=32, workers=0)


def test_labels_of_several_kinds(tmp_path):
    write_images(tmp_path / 'train', classes=1)
    rows = ['image,patient,Edema,Mass', *(f'train/class_0/{i}.jpg,p{i},{i % 2},{(0.3, -1)[i // 2]}' for i in range(4))]
    (tmp_path / 'labels.csv').write_text('\n'.join(rows))
    settings = dict(label_columns=['Edema', 'Mass'], uncertain='ignore', group_column='patient')
    data = dict(type='mmdensenet.CSVDataset', ann_file='labels.csv', data_root=str(tmp_path), pipeline=LOAD, **settings)
    prepare_dataset(config(data), tmp_path / 't', workers=0)
    shards = ShardDataset(str(tmp_path / 't'))
    assert shards.CLASSES == ('Edema', 'Mass')
    expected = np.array([[0, 0.3], [1, 0.3], [0, -1], [1, -1]], np.float32)
    for i in range(4):
        info = shards.get_data_info(i)
        assert info['gt_score'].dtype == np.float32 and (info['gt_score'] == expected[i]).all()
        assert info['group'] == f'p{i}' and shards.get_cat_ids(i) == [0] * (i % 2)
    with tarfile.open(tmp_path / 't/train-000000.tar') as tar:
        assert tar.getnames()[:2] == ['000000000.jpg', '000000000.json']
        assert json.load(tar.extractfile('000000001.json')) == dict(gt_score=[1.0, float(np.float32(0.3))], group='p1')


def test_wrapped_data_sets_are_copied_once_in_their_order(tmp_path):
    write_images(tmp_path / 'train', per_class=2)
    write_images(tmp_path / 'more', per_class=1, seed=1)
    joined = dict(type='ConcatDataset', datasets=[folder(tmp_path, 'more'), folder(tmp_path)])
    [part] = prepare_dataset(config(dict(type='RepeatDataset', times=2, dataset=joined)), tmp_path / 't', workers=0)
    assert part.repeated_by == ['RepeatDataset']
    files = [*sorted((tmp_path / 'more').rglob('*.jpg')), *sorted((tmp_path / 'train').rglob('*.jpg'))]
    shards = ShardDataset(str(tmp_path / 't'))
    assert bytes_of(shards) == [file.read_bytes() for file in files]
    assert [shards.get_data_info(i)['gt_label'] for i in range(9)] == [0, 1, 2, 0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(short_side=0), 'short_side=0: give 1 or more'),
        (dict(quality=101), 'quality=101: give 1 to 100'),
        (dict(workers=-1), 'workers=-1: give 0 or more'),
        (dict(splits=['test']), 'splits=test: the config has no test_dataloader'),
        (dict(), 'train_dataloader.dataset: Digits has its images in memory'),
    ],
)
def test_mistakes(options, message, tmp_path):
    cfg = config(dict(type='mmdensenet.Digits', split='train', pipeline=[dict(type='PackInputs')]))
    with pytest.raises(UserError, match=message):
        prepare_dataset(cfg, tmp_path / 't', **options)


SMALL = """
_base_ = {digits!r}
model = dict(
    backbone=dict(in_channels=3, arch=dict(growth_rate=4, depths=(1, 2), init_channels=8)),
    head=dict(in_channels=14, num_classes=3),
)
data_preprocessor = dict(_delete_=True, num_classes=3, mean=[127.0] * 3, std=[60.0] * 3, to_rgb=True)
pipeline = [dict(type='LoadImageFromFile'), dict(type='RandomCrop', crop_size=12), dict(type='PackInputs')]
train_dataloader = dict(batch_size=4, dataset=dict({data}, pipeline=pipeline, _delete_=True))
val_dataloader = val_evaluator = val_cfg = test_dataloader = test_evaluator = test_cfg = None
train_cfg = dict(max_epochs=1, val_interval=1)
default_hooks = dict(checkpoint=dict(_delete_=True, type='CheckpointHook', interval=1))
randomness = dict(seed=3)
"""


def test_training_from_shards_is_training_from_the_folder(run_tool, check_tool, tmp_path):
    write_images(tmp_path / 'train')
    weights = []
    for name, data in (
        ('folder', f"type='CustomDataset', data_root={str(tmp_path)!r}, data_prefix='train'"),
        ('shards', f"type='mmdensenet.ShardDataset', data_root={str(tmp_path / 't')!r}"),
    ):
        file = tmp_path / f'{name}.py'
        file.write_text(SMALL.format(digits=str(DIGITS), data=data))
        if name == 'folder':
            done = check_tool('prepare.py', file, tmp_path / 't', '--raw', '--shard-size', '5', '--workers', '0')
            assert 'train: 12 images in 3 shards, ' in done.out, done.out + done.err
            assert 'copying 12 images ...' in done.err
        check_tool('train.py', file, '--work-dir', tmp_path / name)
        weights.append(load_weights(tmp_path / name / 'epoch_1.pth'))
    assert_equal(*weights)
    done = run_tool('prepare.py', file, tmp_path / 't', '--raw', '--shard-size', '7', '--workers', '0')
    assert done.status == 2 and 'train-000002.tar is there' in done.err, done.err
