"""Names of classes are read as they are meant, from whatever states them, or refused."""

import json

import numpy as np
import pytest
from mmpretrain.registry import DATASETS

from mmdensenet.datasets.stated_classes import (
    ClassListError,
    class_names,
    names_by_task,
    names_in,
    names_in_checkpoint,
)
from mmdensenet.errors import UserError

NAMES = ['ant', 'bee', 'cat']


def build(**settings):
    return DATASETS.build(dict(type='mmpretrain.BaseDataset', ann_file='', lazy_init=True) | settings)


@pytest.mark.parametrize(
    'content',
    [b'ant\nbee\ncat', b'\xef\xbb\xbfant\nbee\ncat\n', b'ant\r\nbee \r\ncat\r\n\r\n', b'ant\rbee\rcat\n \n'],
    ids=['plain', 'byte-order mark', 'Windows', 'old Mac'],
)
def test_a_file_of_names(tmp_path, content):
    file = tmp_path / 'names.txt'
    file.write_bytes(content)
    assert class_names(str(file)) == NAMES
    for given in (dict(classes=str(file)), dict(metainfo=dict(classes=str(file)))):
        assert list(build(**given).metainfo['classes']) == NAMES


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'ant\n\nbee\n', 'line 2: it is empty'),
        (b' \n', 'no names'),
        ('ant\n'.encode('utf-16'), 'not text in UTF-8'),
    ],
)
def test_a_file_that_is_none(tmp_path, content, message):
    (tmp_path / 'names.txt').write_bytes(content)
    with pytest.raises(UserError, match=message):
        build(classes=str(tmp_path / 'names.txt'))


@pytest.mark.parametrize('given', [{'ant', 'bee'}, {'ant': 1, 'bee': 0}, 'ant,bee', 3])
@pytest.mark.parametrize('argument', ['classes', 'metainfo'])
def test_what_has_no_order_is_refused(given, argument):
    """A set has another order in each process."""
    given = given if argument == 'classes' else dict(classes=given)
    with pytest.raises(UserError, match='classes='):
        build(**{argument: given})


def test_the_old_key_is_refused():
    with pytest.raises(ClassListError, match='the key is `classes`'):
        build(metainfo=dict(CLASSES=NAMES))


@pytest.mark.parametrize(
    'meta',
    [
        dict(dataset_meta=dict(classes=tuple(NAMES))),
        dict(dataset_meta=dict(CLASSES=NAMES)),
        dict(CLASSES=tuple(NAMES)),
        dict(dataset_meta=None, CLASSES=NAMES),
        dict(dataset_meta=NAMES),
        dict(dataset_meta=dict(classes={2: 'cat', 0: 'ant', 1: 'bee'})),
        dict(dataset_meta=dict(classes={'0': 'ant', '1': 'bee', '2': 'cat'})),
        dict(dataset_meta=dict(classes={'cat': 2, 'ant': 0, 'bee': 1})),
        dict(dataset_meta=dict(classes=np.array(NAMES))),
    ],
)
def test_the_names_of_a_checkpoint(meta):
    assert names_in_checkpoint(meta) == tuple(NAMES)


def test_names_that_only_decisions_have():
    for names, expected in ((NAMES, tuple(NAMES)), (['0', '1', '2'], None)):
        assert names_in_checkpoint(dict(decisions=dict(classes=names), dataset_meta=dict(classes=None))) == expected
    assert names_in_checkpoint(dict(decisions=dict(classes=NAMES), dataset_meta=dict(classes=['x']))) == ('x',)
    assert names_in_checkpoint(dict(decisions='no dictionary')) is None


def test_what_names_nothing():
    for meta in (None, [], {}, dict(dataset_meta={}), dict(dataset_meta=dict(classes={'ant': 5}))):
        assert names_in_checkpoint(meta) is None
    assert names_in(dict(classes='cat')) == ('cat',)  # and not its letters


@pytest.mark.parametrize(
    ('stated', 'fits'),
    [(['Bus', 'Car'], True), (['bus', 'car'], True), (['car', 'bus'], False), (['car'], False), (['x', 'bus'], False)],
)
@pytest.mark.parametrize('written', ['classes', 'CLASSES', 'categories'])
def test_names_for_the_labels_of_a_file(tmp_path, stated, fits, written):
    names = ['bus', 'car']
    if written == 'categories':
        names = [dict(id=number, category_name=name) for number, name in enumerate(names)]
    content = dict(metainfo={written: names}, data_list=[dict(img_path='a.png', gt_label=0)])
    (tmp_path / 'a.json').write_text(json.dumps(content))
    config = dict(type='mmpretrain.BaseDataset', ann_file=str(tmp_path / 'a.json'))
    assert DATASETS.build(config).metainfo['classes'] == ('bus', 'car')
    if fits:
        assert list(DATASETS.build(dict(config, classes=stated)).metainfo['classes']) == stated
        return
    with pytest.raises(ClassListError, match=r'a\.json it is label'):
        DATASETS.build(dict(config, classes=stated))


def test_names_for_the_labels_of_a_data_set():
    with pytest.raises(ClassListError, match="'cat' is named as label 0, and in CIFAR10 it is label 3"):
        DATASETS.build(dict(type='mmpretrain.CIFAR10', data_root='.', lazy_init=True, classes=['cat', 'dog']))


def test_categories_that_begin_with_1(tmp_path):
    categories = [dict(id=1, category_name='bus'), dict(id=2, category_name='car')]
    content = dict(metainfo=dict(categories=categories), data_list=[dict(img_path='a.png', gt_label=1)])
    (tmp_path / 'a.json').write_text(json.dumps(content))
    with pytest.raises(ClassListError, match=r'not 0, 1, 2 and so on'):
        DATASETS.build(dict(type='mmpretrain.BaseDataset', ann_file=str(tmp_path / 'a.json')))


def test_names_of_tasks_in_a_checkpoint():
    assert names_by_task(dict(classes=('a', 'b'), tasks=['kind'])) == {}
    assert names_by_task(dict(classes={0: 'a', 1: 'b'})) == {}
    assert names_by_task(None) == {}
    assert names_by_task(dict(classes=dict(kind={0: 'b', 1: 'a'}))) == dict(kind=('b', 'a'))
