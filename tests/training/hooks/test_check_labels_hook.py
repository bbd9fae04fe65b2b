"""What the labels of a data set must be, beside the lists of tests/tools/test_class_lists.py."""

import json
from types import SimpleNamespace

import pytest
from mmengine.dataset import InfiniteSampler
from mmengine.runner import IterBasedTrainLoop
from mmpretrain.registry import DATASETS
from torch.utils.data import DataLoader

from mmdensenet.errors import UserError
from mmdensenet.training.hooks.check_labels_hook import _check_leaf, _require_epoch


def test_a_label_without_a_name(tmp_path):
    """Two names and labels 0 to 2: the head has the third, and nothing could say what it is."""
    data = [dict(img_path=f'{label}.png', gt_label=label) for label in range(3)]
    (tmp_path / 'a.json').write_text(json.dumps(dict(metainfo={}, data_list=data)))
    config = dict(type='mmpretrain.BaseDataset', ann_file=str(tmp_path / 'a.json'))
    for classes in (None, ['a', 'b', 'c'], ['a', 'b', 'c', 'd']):
        _check_leaf(DATASETS.build(dict(config, classes=classes)), 'train_dataloader', 3)
    with pytest.raises(UserError, match=r'2\.png \(train_dataloader\) has label 2, and its data set names 2 classes'):
        _check_leaf(DATASETS.build(dict(config, classes=['a', 'b'])), 'train_dataloader', 3)


def test_a_data_loader_without_a_batch_or_without_an_end():
    """Training would do nothing, and say so in no way, or its first epoch would never end."""

    def loop(images, **settings):
        return SimpleNamespace(dataloader=DataLoader(range(images), **settings))

    with pytest.raises(UserError, match='train_dataloader: its data set has no images'):
        _require_epoch('train_dataloader', loop(0, sampler=[]))
    with pytest.raises(UserError, match=r'5 images are less than a batch.* set train_dataloader.drop_last=False'):
        _require_epoch('train_dataloader', loop(5, batch_size=8, drop_last=True))
    endless = InfiniteSampler(range(5))
    with pytest.raises(UserError, match=r'val_dataloader.sampler: InfiniteSampler has no end'):
        _require_epoch('val_dataloader', loop(5, sampler=endless))
    _require_epoch('train_dataloader', loop(5, batch_size=8))
    by_iterations = type('Loop', (IterBasedTrainLoop,), dict(dataloader=loop(5, sampler=endless).dataloader))
    _require_epoch('train_dataloader', by_iterations.__new__(by_iterations))
