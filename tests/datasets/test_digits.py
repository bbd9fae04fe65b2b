import numpy as np
import pytest
from mmpretrain.registry import DATASETS, TRANSFORMS  # noqa: F401
from sklearn.datasets import load_digits

from mmdensenet.datasets import Digits
from mmdensenet.errors import UserError


def test_stratified_quarter():
    train, test = Digits('train'), Digits('test')
    assert (len(train), len(test)) == (1347, 450)
    whole = np.bincount(load_digits().target)
    held_out = np.bincount(test.get_gt_labels())
    assert (np.abs(held_out - whole / 4) <= 1).all()
    assert (held_out + np.bincount(train.get_gt_labels()) == whole).all()
    assert tuple('0123456789') == train.CLASSES


def test_no_image_is_in_both_splits_and_all_are_there():
    images = {
        split: [d['img'].tobytes() for d in map(dataset.get_data_info, range(len(dataset)))]
        for split, dataset in (('train', Digits('train')), ('test', Digits('test')))
    }
    originals = {np.round(i * 255 / 16).astype(np.uint8).tobytes() for i in load_digits().images}
    assert set(images['train']) | set(images['test']) == originals
    assert not set(images['train']) & set(images['test'])


def test_samples():
    dataset = DATASETS.build(dict(type='mmdensenet.Digits', split='train', pipeline=[dict(type='PackInputs')]))
    sample = dataset[0]
    assert sample['inputs'].shape == (1, 8, 8)
    assert sample['inputs'].max() > 200
    assert 0 <= sample['data_samples'].gt_label.item() <= 9
    assert 'Split: \ttrain' in repr(dataset)


def test_mean_and_std_of_the_config():
    from conftest import CONFIGS
    from mmengine.config import Config

    dataset = Digits('train')
    pixels = np.stack([dataset.get_data_info(i)['img'] for i in range(len(dataset))]).astype(float)
    preprocessor = Config.fromfile(CONFIGS / '_base_/datasets/digits_bs32.py').data_preprocessor
    assert preprocessor.mean == [pytest.approx(pixels.mean(), abs=0.5)]
    assert preprocessor.std == [pytest.approx(pixels.std(), abs=0.5)]


def test_unknown_split():
    with pytest.raises(UserError, match="choose 'train' or 'test'"):
        Digits('val')
