"""A malformed annotation file is named with its line."""

import json
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from mmengine.registry import init_default_scope
from mmpretrain.datasets import BaseDataset
from mmpretrain.registry import DATASETS

from mmdensenet.datasets.labels import source_of
from mmdensenet.datasets.wrappers import sample_labels
from mmdensenet.errors import UserError

GOOD = dict(metainfo=dict(classes=['a', 'b']), data_list=[dict(img_path='a.png', gt_label=0)])


@pytest.mark.parametrize(
    ('name', 'content', 'message'),
    [
        ('l.txt', 'a.png 0\nb.png\n', r"l\.txt, line 2: 'b\.png' is not a path, a space and the number of a class"),
        ('l.txt', 'a.png 0\n\nb.png 1\n', r'l\.txt, line 2'),
        ('l.txt', 'a.png 0\nb.png cat\n', r"l\.txt, line 2: 'b\.png cat'"),
        ('l.txt', 'a.png 1.0\n', r'l\.txt, line 1'),
        ('l.json', '{"metainfo": {},\n "data_list": [}', r'l\.json, line 2: Expecting value'),
        ('l.json', '[]', r"l\.json, it has no 'metainfo'"),
        ('l.json', '{"metainfo": {}}', r"l\.json, it has no 'data_list'"),
        ('l.json', json.dumps(dict(metainfo={}, data_list=[dict(img_path='a'), {}])), r'data_list\[1\]: .*no img_path'),
        ('l.json', '{"metainfo": [], "data_list": []}', r'l\.json, metainfo: it must be a dict'),
        ('l.json', '{"metainfo": {}, "data_list": {}}', r'l\.json, data_list: it must be a list'),
        ('l.yaml', 'metainfo: {}\ndata_list: [{img_path: a.png}, {path: b.png}]\n', r'l\.yaml, data_list\[1\]'),
        ('l.yaml', 'metainfo: {\n', r'l\.yaml is no annotation file of BaseDataset: ParserError'),
        ('l.json', '{"metainfo": {}, "data_list": []}', r'l\.json lists no images'),
        ('l.txt', '', r'l\.txt lists no images'),
        (
            'l.json',
            '{"metainfo": {"categories": [{"category_name": "a"}]}, "data_list": [{"img_path": "a"}]}',
            'dicts with id and category_name',
        ),
        ('l.yaml', 'metainfo: {classes: [yes, no]}\ndata_list: [{img_path: a.png}]\n', r'classes: True is no name'),
        ('gone.txt', None, r'gone\.txt does not exist'),
    ],
)  # fmt: skip
def test_the_line_is_named(tmp_path, name, content, message):
    init_default_scope('mmpretrain')
    if content is not None:
        (tmp_path / name).write_text(content)
    kind = 'CustomDataset' if name.endswith('.txt') else 'BaseDataset'
    with pytest.raises(UserError, match=message):
        DATASETS.build(dict(type=f'mmpretrain.{kind}', ann_file=name, data_root=str(tmp_path)))


def test_one_that_is_right(tmp_path):
    (tmp_path / 'l.json').write_text(json.dumps(GOOD))
    (tmp_path / 'l.txt').write_bytes(b'\xef\xbb\xbfa b.png 1\r\n')  # as Windows writes it
    one = DATASETS.build(dict(type='mmpretrain.BaseDataset', ann_file='l.json', data_root=str(tmp_path)))
    two = DATASETS.build(dict(type='mmpretrain.CustomDataset', ann_file='l.txt', data_root=str(tmp_path)))
    assert one.get_data_info(0)['gt_label'] == 0 and two.get_data_info(0)['gt_label'] == 1
    assert two.get_data_info(0)['img_path'] == str(tmp_path / 'a b.png')


def test_labels_in_lists_are_labels(tmp_path):
    """mmpretrain trains on a list of one, where its data sets foresee a number: so it is compared with the classes."""
    data = [dict(img_path='a.png', gt_label=[7]), dict(img_path='b.png', gt_label=[0, 1])]
    (tmp_path / 'l.json').write_text(json.dumps(dict(metainfo={}, data_list=data)))
    made = DATASETS.build(dict(type='mmpretrain.BaseDataset', ann_file='l.json', data_root=str(tmp_path)))
    assert [sample_labels(made, index) for index in range(2)] == [[7], [0, 1]]


TASKS = [dict(img_path='a.png', gt_label=dict(kind=0)), dict(img_path='b.png')]


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('{"data_list": [}', r'a\.json, line 1: Expecting value'),
        ([], r"a\.json, it has no 'data_list'"),
        (dict(data_list={}), r'a\.json, data_list: it must be a list'),
        (dict(metainfo=[], data_list=[]), r'a\.json, metainfo: it must be a dict'),
        (dict(data_list=[*TASKS, dict(gt_label={})]), r'a\.json, data_list\[2\]: it has no img_path'),
        (dict(data_list=[*TASKS, 'c.png']), r'a\.json, data_list\[2\]: it has no img_path'),
        (dict(data_list=[*TASKS, dict(img_path='c.png', gt_label=1)]), r'data_list\[2\]: its gt_label must be a dict'),
        (None, r'a\.json does not exist'),
    ],
)
def test_the_entry_of_several_tasks_is_named(tmp_path, content, message):
    if content is not None:
        (tmp_path / 'a.json').write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(UserError, match=message):
        DATASETS.build(dict(type='mmpretrain.MultiTaskDataset', ann_file='a.json', data_root=str(tmp_path)))


def test_images_of_several_tasks_without_labels_or_root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'a.json').write_text(json.dumps(dict(data_list=TASKS)))
    made = DATASETS.build(dict(type='mmpretrain.MultiTaskDataset', ann_file='a.json'))
    assert [made.get_data_info(i) for i in range(2)] == [TASKS[0], dict(TASKS[1], gt_label={})]


@pytest.mark.parametrize(
    ('kind', 'label', 'message'),
    [
        ('BaseDataset', 'cat', r"a\.png in .*l\.json has the label 'cat': not the number of a class"),
        ('BaseDataset', '1', r"the label '1'"),
        ('BaseDataset', 1.5, r'the label 1\.5'),
        ('BaseDataset', ['a'], r"the label \['a'\]"),
        ('MultiLabelDataset', 'cat', r"the label 'cat'"),
        ('MultiLabelDataset', 1, r'the label 1: no list of numbers as MultiLabelDataset needs'),
        ('MultiLabelDataset', [0, 'b'], r"the label \[0, 'b'\]"),
    ],
)
def test_a_label_that_is_no_number(tmp_path, kind, label, message):
    (tmp_path / 'l.json').write_text(json.dumps(dict(GOOD, data_list=[dict(img_path='a.png', gt_label=label)])))
    made = DATASETS.build(dict(type=f'mmpretrain.{kind}', ann_file='l.json', data_root=str(tmp_path)))
    with pytest.raises(UserError, match=message):
        sample_labels(made, 0)


def test_labels_that_are_numbers_or_none(tmp_path):
    for kind, label, expected in (
        ('BaseDataset', 1, [1]),
        ('BaseDataset', None, None),
        ('MultiLabelDataset', [0, 1], [0, 1]),
        ('MultiLabelDataset', [], []),
        ('MultiLabelDataset', None, None),
    ):
        (tmp_path / 'l.json').write_text(json.dumps(dict(GOOD, data_list=[dict(img_path='a.png', gt_label=label)])))
        made = DATASETS.build(dict(type=f'mmpretrain.{kind}', ann_file='l.json', data_root=str(tmp_path)))
        assert sample_labels(made, 0) == expected


def test_a_data_set_without_a_prefix_of_images():
    """As mmpretrain's CIFAR10 and MNIST, whose ``img_prefix`` raises."""

    class Rooted(BaseDataset):
        def load_data_list(self) -> list[dict]:
            return [dict(img=None, gt_label=1)]

    made = Rooted('', data_prefix=dict(root='somewhere'))
    assert sample_labels(made, 0) == [1] and source_of(made) == 'Rooted'


class Touch:
    """What a stranger's pickle may do."""

    def __reduce__(self):
        return Path.touch, (Path('RAN'),)


@pytest.mark.parametrize('kind', ['BaseDataset', 'MultiTaskDataset'])
def test_pickles_are_data(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    label = np.int64(1) if kind == 'BaseDataset' else dict(a=np.int64(1))
    samples = [OrderedDict(img_path='a.png', gt_label=label, box=np.ones((1, 4), np.float32), by=b'x', of={1})]
    content = dict(metainfo=dict(classes=('a', 'b')), data_list=samples)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        Path('l.pkl').write_bytes(pickle.dumps(content, protocol))
        made = DATASETS.build(dict(type=f'mmpretrain.{kind}', ann_file='l.pkl', data_root=''))
        assert made.get_data_info(0)['gt_label'] == label
    for bad in (dict(content, more=Touch()), Touch(), dict(content, more=Path('x')), dict(content, more=print)):
        Path('l.pkl').write_bytes(pickle.dumps(bad))
        with pytest.raises(UserError, match=r'l\.pkl: it asks for \S+, which is code and would run'):
            DATASETS.build(dict(type=f'mmpretrain.{kind}', ann_file='l.pkl', data_root=''))
    assert not Path('RAN').exists()
    Path('l.pkl').write_bytes(b'no pickle')
    with pytest.raises(UserError, match=r'l\.pkl'):
        DATASETS.build(dict(type=f'mmpretrain.{kind}', ann_file='l.pkl', data_root=''))
