"""Folds divide images however they are wrapped: each is in one fold, and none in training and in validation."""

import pytest
from mmengine.config import Config
from mmpretrain.datasets import KFoldDataset
from mmpretrain.registry import DATASETS

from mmdensenet.datasets.divide_images import count_images, require_apart
from mmdensenet.datasets.wrappers import leaves, sample_info, sample_labels
from mmdensenet.errors import UserError


def digits(count=13, split='test'):
    return dict(type='mmdensenet.Digits', split=split, indices=count, pipeline=[dict(type='PackInputs')])


def wrap(kind, dataset, **more):
    return dict(type=kind, dataset=dataset, **more)


def concat(*parts):
    return dict(type='ConcatDataset', datasets=list(parts))


def fold(dataset, **more):
    return wrap('mmpretrain.KFoldDataset', dataset, **dict(num_splits=4, seed=3, **more))


WRAPPED = {
    'plain': digits(),
    'concat': concat(digits(), digits(7, 'train')),
    'repeat': wrap('RepeatDataset', digits(), times=3),
    'balanced': wrap('ClassBalancedDataset', digits(), oversample_thr=0.5),
    'fold': fold(digits(16)),
    'nested': concat(wrap('RepeatDataset', concat(digits(11, 'train')), times=2), fold(digits(12))),
}


def images(dataset) -> list[bytes]:
    return [sample_info(dataset, index)['img'].tobytes() for index in range(len(dataset))]


@pytest.mark.parametrize('name', WRAPPED)
def test_each_image_is_in_one_fold(name):
    whole, tested = DATASETS.build(WRAPPED[name]), []
    for number in range(4):
        trained, held_out = (DATASETS.build(fold(WRAPPED[name], fold=number, test_mode=t)) for t in (False, True))
        assert not set(images(trained)) & set(images(held_out))
        assert count_images(trained) + count_images(held_out) == count_images(whole)
        tested += sorted(set(images(held_out)))
        for part in (trained, held_out):
            assert part.metainfo['classes'] == tuple('0123456789') and leaves(part)
            for index in range(len(part)):
                assert part[index]['data_samples'].gt_label.tolist() == sample_labels(part, index)
    assert sorted(tested) == sorted(set(images(whole)))


def test_a_fold_of_what_is_repeated_is_repeated():
    assert len(DATASETS.build(fold(WRAPPED['repeat']))) == 3 * len(DATASETS.build(fold(WRAPPED['plain'])))


def test_a_built_data_set():
    """mmpretrain's class raises UnboundLocalError."""
    built = KFoldDataset(DATASETS.build(digits()), num_splits=4, seed=3)
    assert images(built) == images(DATASETS.build(fold(digits())))


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(fold=5), r'fold=5: with num_splits=5 give 0 to 4'),
        (dict(fold=-1), r'fold=-1: with num_splits=5 give 0 to 4'),
        (dict(fold=0.5), r'fold=0.5: with'),
        (dict(num_splits=1), r'num_splits=1: give a whole number of 2 or more'),
        (dict(num_splits=14), r'num_splits=14, and there are 13 images'),
    ],
)
def test_folds_that_are_not_there(settings, message):
    with pytest.raises(UserError, match=message):
        DATASETS.build(wrap('mmpretrain.KFoldDataset', digits(), **settings))


def loaders(trained, validated):
    return Config(dict(train_dataloader=dict(dataset=trained), val_dataloader=dict(dataset=validated)))


@pytest.mark.parametrize(
    ('trained', 'validated', 'apart'),
    [
        (dict(), dict(test_mode=True), True),
        (dict(fold=2), dict(fold=2, test_mode=True), True),
        (dict(fold=2, test_mode=True), dict(fold=1, test_mode=True), True),
        (dict(), dict(), False),
        (dict(), dict(fold=1, test_mode=True), False),
        (dict(), dict(seed=4, test_mode=True), False),
        (dict(), dict(num_splits=5, test_mode=True), False),
    ],
)
def test_folds_of_training_and_validation(trained, validated, apart):
    settings = dict(type='KFoldDataset', num_splits=4, seed=3)
    train = wrap('RepeatDataset', dict(settings, dataset=digits(), **trained), times=2)
    other = dict(digits(), pipeline=[dict(type='Resize', scale=8), dict(type='PackInputs')])
    cfg = loaders(train, dict(dict(settings, dataset=other), **validated))
    if apart:
        require_apart(cfg)
        return
    with pytest.raises(UserError, match=r'with the same images in them, .* seed=3, test_mode=True'):
        require_apart(cfg)


def test_folds_of_other_data_are_left_alone():
    require_apart(loaders(fold(digits()), fold(digits(split='train'))))
    require_apart(loaders(fold(digits()), digits()))
    require_apart(Config(dict(val_dataloader=None)))


@pytest.mark.parametrize('key', ['train_dataloader', 'val_dataloader'])
@pytest.mark.parametrize('inside', [lambda data: data, lambda data: wrap('RepeatDataset', data, times=2)])
def test_the_same_data_twice_in_what_is_divided(key, inside):
    other = dict(digits(), pipeline=[])
    twice = Config({key: dict(dataset=fold(inside(concat(digits(), digits(split='train'), other))))})
    with pytest.raises(UserError, match=f'{key}: a KFoldDataset divides a ConcatDataset that has the same data twice'):
        require_apart(twice)
    require_apart(Config({key: dict(dataset=fold(inside(concat(digits(), digits(split='train')))))}))
    require_apart(Config({key: dict(dataset=concat(digits(), other))}))
    require_apart(Config({key: dict(dataset=concat(fold(digits()), fold(digits(), fold=1)))}))
