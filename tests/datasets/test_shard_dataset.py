"""Shards as a data set: what is read, by whom, and what of damage is said."""

import io
import json
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest
from conftest import write_images
from mmengine import fileio
from mmengine.config import Config
from mmpretrain.datasets import CustomDataset
from mmpretrain.registry import DATASETS
from torch.utils.data import DataLoader

from mmdensenet.apis.prepare import prepare_dataset
from mmdensenet.datasets import BalancedSampler, LoadImage, ShardDataset
from mmdensenet.datasets.shard_dataset import _open
from mmdensenet.errors import BadImageError, UserError

PIPELINE = [dict(type='mmdensenet.LoadImage')]


@pytest.fixture(scope='module')
def prepared(tmp_path_factory):
    """A folder of three classes with four images each, and its shards of five images."""
    root = tmp_path_factory.mktemp('shards')
    write_images(root / 'data/train')
    data = dict(type='CustomDataset', data_root=f'{root}/data', data_prefix='train', pipeline=PIPELINE)
    cfg = Config(dict(model=dict(type='ImageClassifier'), train_dataloader=dict(batch_size=1, dataset=data)))
    prepare_dataset(cfg, root / 'target', raw=True, shard_size=5, workers=0)
    return root


@pytest.fixture
def target(prepared, tmp_path):
    """A copy to damage."""
    return shutil.copytree(prepared / 'target', tmp_path / 'copied')


@pytest.fixture
def folder(prepared):
    return CustomDataset(data_root=f'{prepared}/data', data_prefix='train', pipeline=PIPELINE)


def test_samples_are_those_of_the_folder(prepared, folder):
    shards = DATASETS.build(dict(type='mmdensenet.ShardDataset', data_root=f'{prepared}/target', pipeline=PIPELINE))
    assert shards.metainfo['classes'] == folder.metainfo['classes'] == ('class_0', 'class_1', 'class_2')
    assert len(shards) == len(folder) == 12
    for i in range(12):
        here, there = shards.get_data_info(i), folder.get_data_info(i)
        assert fileio.get(here['img_path']) == fileio.get(there['img_path'])
        assert here['gt_label'] == there['gt_label'] and shards.get_cat_ids(i) == folder.get_cat_ids(i)
        assert here['img_path'].endswith(f'#{there["img_path"].removeprefix(f"{prepared}/data/")}')
        assert np.array_equal(shards[i]['img'], folder[i]['img'])
    assert len(ShardDataset(f'{prepared}/target', indices=7)) == 7
    assert len(list(BalancedSampler(shards))) == 12


def first_pixels(samples):
    return [(int(sample['gt_label']), sample['img'].tobytes()) for sample in samples]


def test_workers_that_were_forked_share_no_position(prepared, folder):
    """The files are open in this process already."""
    shards = ShardDataset(f'{prepared}/target', pipeline=PIPELINE)
    expected = first_pixels(shards[i] for i in range(12))
    assert expected == first_pixels(folder[i] for i in range(12))
    loader = DataLoader(shards, batch_size=2, num_workers=2, collate_fn=first_pixels, multiprocessing_context='fork')
    for _ in range(3):
        assert [sample for batch in loader for sample in batch] == expected


READ = """
import pickle, sys
import mmdensenet
dataset = pickle.load(open(sys.argv[1], 'rb'))
print(sum(int(dataset[i]['img'].astype(int).sum()) for i in range(12)))
"""


@pytest.mark.slow
def test_a_process_that_was_spawned_reads_too(prepared, folder, tmp_path):
    import pickle

    file = tmp_path / 'dataset.pickle'
    file.write_bytes(pickle.dumps(ShardDataset(f'{prepared}/target', pipeline=PIPELINE)))
    done = subprocess.run([sys.executable, '-c', READ, file], capture_output=True, text=True, check=True)
    assert int(done.stdout.split()[-1]) == sum(int(folder[i]['img'].astype(int).sum()) for i in range(12))


def flip(file, place=-1):
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)


def test_a_damaged_image_is_named_when_it_is_read(target):
    _open.cache_clear()
    shards = ShardDataset(str(target))
    info = shards.get_data_info(0)
    flip(target / 'train-000000.tar', 600)  # in the first image, behind its header
    assert len(ShardDataset(str(target))) == 12  # its size is right
    with pytest.raises(BadImageError, match=r'train-000000\.tar.*class_0/0\.jpg.*its shard is damaged'):
        LoadImage()(info)
    with pytest.raises(UserError, match=r'train-000000\.tar is damaged \(its SHA-256 is another\)'):
        ShardDataset(str(target), check_hashes=True)


def cut(target):
    shard = target / 'train-000001.tar'
    shard.write_bytes(shard.read_bytes()[:-512])


def other_index(target):
    index = json.loads((target / 'train-000001.json').read_text())
    (target / 'train-000001.json').write_text(json.dumps(dict(index, sha256='0' * 64)))


@pytest.mark.parametrize(
    ('damage', 'message'),
    [
        (cut, r'train-000001\.tar has 19968 bytes, not 20480'),
        (other_index, r'train-000001\.json is of another train-000001\.tar than this one'),
        (lambda target: (target / 'train-000002.tar').unlink(), r'train-000002\.tar cannot be read: no such file'),
        (lambda target: (target / 'train-000002.json').unlink(), r'train-000002\.json does not exist'),
        (lambda target: (target / 'train.json').unlink(), r'train\.json does not exist: write it with `mmdensenet pre'),
        (lambda target: (target / 'train.json').write_text('{'), r'train\.json is damaged'),
        (lambda target: (target / 'train.json').write_text('{}'), r'train\.json is no index of shards'),
    ],
)
def test_what_is_missing_or_damaged_is_named(target, damage, message):
    damage(target)
    with pytest.raises(UserError, match=message) as raised:
        ShardDataset(str(target))
    assert '\n' not in str(raised.value)


def test_classes_that_are_stated_are_the_same(prepared):
    names = ['class_0', 'class_1', 'class_2']
    assert tuple(names) == ShardDataset(f'{prepared}/target', classes=names).CLASSES
    with pytest.raises(UserError, match=r'train\.json has other classes than the config states'):
        ShardDataset(f'{prepared}/target', classes=names[::-1])


def test_grey_images_of_16_bits_keep_their_depth(tmp_path):
    pixels = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000
    (tmp_path / 'data/a').mkdir(parents=True)
    cv2.imwrite(str(tmp_path / 'data/a/1.png'), pixels)
    step = dict(type='mmdensenet.LoadGreyImage', window='full')
    data = dict(type='CustomDataset', data_root=str(tmp_path), data_prefix='data', pipeline=[step])
    cfg = Config(dict(model=dict(type='ImageClassifier'), train_dataloader=dict(batch_size=1, dataset=data)))
    with pytest.raises(UserError, match=r'LoadGreyImage, for which a JPEG may lose depth or channels.*raw=True'):
        prepare_dataset(cfg, tmp_path / 'target', workers=0)
    prepare_dataset(cfg, tmp_path / 'target', raw=True, workers=0)
    [sample] = ShardDataset(str(tmp_path / 'target'), pipeline=[step])
    assert np.allclose(sample['img'], pixels / 257, atol=1e-3)
    assert io.BytesIO(fileio.get(sample['img_path'])).read(8) == b'\x89PNG\r\n\x1a\n'
