"""What the labels of a data set must be, beside the lists of tests/tools/test_class_lists.py."""

import json

import pytest
from mmpretrain.registry import DATASETS

from mmdensenet.errors import UserError
from mmdensenet.training.hooks.check_labels_hook import _check_leaf


def test_a_label_without_a_name(tmp_path):
    """Two names and labels 0 to 2: the head has the third, and nothing could say what it is."""
    data = [dict(img_path=f'{label}.png', gt_label=label) for label in range(3)]
    (tmp_path / 'a.json').write_text(json.dumps(dict(metainfo={}, data_list=data)))
    config = dict(type='mmpretrain.BaseDataset', ann_file=str(tmp_path / 'a.json'))
    for classes in (None, ['a', 'b', 'c'], ['a', 'b', 'c', 'd']):
        _check_leaf(DATASETS.build(dict(config, classes=classes)), 'train_dataloader', 3)
    with pytest.raises(UserError, match=r'2\.png \(train_dataloader\) has label 2, and its data set names 2 classes'):
        _check_leaf(DATASETS.build(dict(config, classes=['a', 'b'])), 'train_dataloader', 3)
