"""What the labels of a data set must be, beside the lists of tests/tools/test_class_lists.py."""

import json
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
from mmengine.dataset import InfiniteSampler
from mmengine.runner import IterBasedTrainLoop
from mmpretrain.registry import DATASETS
from torch.utils.data import DataLoader

from mmdensenet.errors import UserError
from mmdensenet.training.hooks.check_labels_hook import _check_leaf, _require_both_kinds, _require_epoch, _require_topk


def test_a_label_without_a_name(tmp_path):
    """Two names and labels 0 to 2: the head has the third, and nothing could say what it is."""
    data = [dict(img_path=f'{label}.png', gt_label=label) for label in range(3)]
    (tmp_path / 'a.json').write_text(json.dumps(dict(metainfo={}, data_list=data)))
    config = dict(type='mmpretrain.BaseDataset', ann_file=str(tmp_path / 'a.json'))
    for classes in (None, ['a', 'b', 'c'], ['a', 'b', 'c', 'd']):
        _check_leaf(DATASETS.build(dict(config, classes=classes)), 'train_dataloader', 3)
    with pytest.raises(UserError, match=r'2\.png \(train_dataloader\) has label 2, and its data set names 2 classes'):
        _check_leaf(DATASETS.build(dict(config, classes=['a', 'b'])), 'train_dataloader', 3)


def test_a_label_that_the_head_lacks(tmp_path):
    for labels, message in (
        (
            [0, 2, 3],
            r'2\.png \(val_dataloader\) has label 3, but the head has 3 classes, 0 to 2\. Correct the label, or',
        ),
        ([0, -1, 3], r'1\.png \(val_dataloader\) has label -1'),
    ):
        data = [dict(img_path=f'{i}.png', gt_label=label) for i, label in enumerate(labels)]
        (tmp_path / 'a.json').write_text(json.dumps(dict(metainfo={}, data_list=data)))
        found = DATASETS.build(dict(type='mmpretrain.BaseDataset', ann_file=str(tmp_path / 'a.json')))
        with pytest.raises(UserError, match=message):
            _check_leaf(found, 'val_dataloader', 3)


def test_folders_that_the_head_lacks(tmp_path):
    for name in 'bacd':
        (tmp_path / name).mkdir()
        (tmp_path / name / '0.png').touch()
    folders = dict(type='mmpretrain.CustomDataset', data_root=str(tmp_path), data_prefix='')
    with pytest.raises(
        UserError, match=r"0\.png .* has label 3.* are its folders 'a', 'b', 'c', 'd': remove what is no"
    ):
        _check_leaf(DATASETS.build(folders), 'train_dataloader', 3)
    (tmp_path / 'b/0.png').unlink()
    with pytest.raises(UserError, match="The folder 'b' has no image and counts as a class: remove it"):
        _check_leaf(DATASETS.build(folders), 'train_dataloader', 3)


class Labels(list):
    """Of a data set: each sample's label or scores."""

    def get_data_info(self, index):
        return self[index]

    def get_cat_ids(self, index):
        return [self[index]['gt_label']]


@pytest.mark.parametrize('samples, defined', [
    ([dict(gt_label=0), dict(gt_label=1)], True),
    ([dict(gt_label=1), dict(gt_label=1)], False),
    ([dict(gt_score=[1, 0]), dict(gt_score=[0.4, -1])], True),
    ([dict(gt_score=[1, 0]), dict(gt_score=[-1, 0.5])], False),
    ([dict(gt_score=[1]), dict(gt_score=[0.5])], True),
    ([dict(gt_score=[1, 1])], False),
    ([dict(), dict()], True),  # nothing is known
])  # fmt: skip
def test_a_ranking_needs_both_kinds(samples, defined):
    with nullcontext() if defined else pytest.raises(UserError, match='no label has both images with it and images'):
        _require_both_kinds(Labels(samples))


@pytest.mark.parametrize('settings, message', [
    (dict(topk=(1, 0)), r'e: topk=\(1, 0\): give whole numbers of 1 or more'),
    (dict(topk=(1, 2.0)), 'give whole numbers of 1 or more'),
    (dict(topk=(1, 4, 3)), r'the model has 3 classes: set e\.topk=\(1, 3\)'),
    (dict(topk=(5,)), r'set e\.topk=\(1,\)'),
    (dict(thrs=(0.5, 1.0)), r'e: thrs=1\.0: scores are fractions of 1'),
    (dict(thr=50), 'e: thr=50: scores are fractions'),
    (dict(topk=(1, 3), thrs=(0.0, None), thr=None), None),
])  # fmt: skip
def test_counts_and_thresholds_of_metrics(settings, message):
    evaluator = SimpleNamespace(metrics=[SimpleNamespace(), SimpleNamespace(**settings)])
    _require_topk(evaluator, 'e', None)
    with pytest.raises(UserError, match=message) if message else nullcontext():
        _require_topk(evaluator, 'e', 3)


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
