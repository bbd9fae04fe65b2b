"""One walker through any nesting of wrappers, of built data sets and of their configs."""

import numpy as np
import pytest
from mmpretrain.registry import DATASETS
from torch.utils.data import Subset

from mmdensenet.datasets import BalancedSampler
from mmdensenet.datasets.wrappers import (
    config_pipeline,
    dataset_classes,
    first_pipeline,
    leaf_configs,
    leaves,
    named_leaves,
    sample_info,
    sample_labels,
)
from mmdensenet.errors import UserError

PACK = dict(type='PackInputs')
READ = dict(type='LoadImageFromFile')


def digits(split='test', count=20, pipeline=(PACK,)):
    return dict(type='mmdensenet.Digits', split=split, indices=count, pipeline=list(pipeline))


def repeat(dataset, times=2):
    return dict(type='RepeatDataset', times=times, dataset=dataset)


def concat(*datasets):
    return dict(type='ConcatDataset', datasets=list(datasets))


NESTED = {
    'plain': digits(),
    'repeat': repeat(digits()),
    'concat': concat(digits(count=7), digits(split='train', count=9)),
    'kfold': dict(type='mmpretrain.KFoldDataset', dataset=digits(), fold=1, num_splits=4, test_mode=True, seed=3),
    'balanced': dict(type='ClassBalancedDataset', oversample_thr=0.9, dataset=digits()),
    'all': concat(
        repeat(dict(type='mmpretrain.KFoldDataset', dataset=digits(), fold=1, num_splits=4, seed=0)),
        concat(digits(count=3), dict(type='ClassBalancedDataset', oversample_thr=0.5, dataset=repeat(digits(count=5)))),
    ),
}


@pytest.mark.parametrize('name', NESTED)
def test_samples_are_those_that_an_item_holds(name):
    dataset = DATASETS.build(NESTED[name])
    for index in range(len(dataset)):
        item = dataset[index]
        info = sample_info(dataset, index)
        assert sample_labels(dataset, index) == [info['gt_label']] == item['data_samples'].gt_label.tolist()
        assert (info['img'].transpose(2, 0, 1) == item['inputs'].numpy()).all()
    assert dataset_classes(dataset) == list('0123456789')


def test_keys_of_leaves_in_a_config_and_in_what_it_builds():
    keys = [
        'dataset.datasets.0.dataset.dataset',
        'dataset.datasets.1.datasets.0',
        'dataset.datasets.1.datasets.1.dataset.dataset',
    ]
    assert [key for key, _ in leaf_configs(NESTED['all'])] == keys
    found = named_leaves(DATASETS.build(NESTED['all']))
    assert [key for key, _ in found] == keys
    assert [len(leaf) for _, leaf in found] == [15, 3, 5], 'of the fold only what is in it'


def test_a_subset_has_only_its_samples():
    dataset = DATASETS.build(digits(count=10))
    subset = Subset(dataset, [7, 2])
    assert sample_labels(subset, 0) == sample_labels(dataset, 7)
    [leaf] = leaves(subset)
    assert len(leaf) == 2 and sample_labels(leaf, 1) == sample_labels(dataset, 2)


class Listed:
    """One number is foreseen for a sample; ``classes`` are those of the data set."""

    def __init__(self, *labels, classes=()):
        self.labels, self.metainfo = labels, dict(classes=classes)

    def __getitem__(self, index):
        return self.get_data_info(index)

    def get_data_info(self, index):
        return dict(gt_label=self.labels[index])

    def get_cat_ids(self, index):
        return [int(self.labels[index])]


def test_several_labels_where_one_is_foreseen():
    found = Listed(np.array([1, 3]), [0, 2], dict(a=1), np.array(['a', 'b']))
    assert [sample_labels(found, i) for i in range(4)] == [[1, 3], [0, 2], None, None]


def test_classes_are_those_of_the_first_data_set_that_has_any():
    outer = Listed()
    outer.dataset = Listed(classes=('a', 'b'))
    assert dataset_classes(outer) == ['a', 'b'] and dataset_classes(Listed()) is None
    outer.metainfo = dict(classes='abc')
    assert dataset_classes(outer) == ['a', 'b'], 'a text is no list'


def test_the_balanced_sampler_takes_wrapped_data_sets():
    dataset = DATASETS.build(NESTED['concat'])
    plain = [sample_labels(dataset, i)[0] for i in range(len(dataset))]
    weights = BalancedSampler(dataset, seed=0).probabilities
    for label in set(plain):
        share = sum(weight for weight, other in zip(weights, plain) if other == label)
        assert share == pytest.approx(1 / len(set(plain)))


def test_one_pipeline_prepares_images_or_none():
    loader = dict(dataset=concat(digits(), repeat(digits())))
    assert config_pipeline(loader, 'x') == [PACK] and first_pipeline(loader, 'x') == [PACK]
    assert config_pipeline(dict(dataset=dict(type='X')), 'x') is None
    two = dict(dataset=concat(digits(), digits(pipeline=[dict(type='Resize', scale=4), PACK])))
    with pytest.raises(UserError, match=r'x.dataset.datasets.0 and x.dataset.datasets.1 have other pipelines'):
        config_pipeline(two, 'x')
    assert first_pipeline(two, 'x') == [PACK], 'both give the same order of colours'
    with pytest.raises(
        UserError, match=r'x.dataset.datasets.1 reads files, in BGR order, and x.dataset.datasets.0 has'
    ):
        first_pipeline(dict(dataset=concat(digits(), digits(pipeline=[READ, PACK]))), 'x')
