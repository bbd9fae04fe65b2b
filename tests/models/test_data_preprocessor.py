"""Normalising in place gives mmpretrain's numbers bit for bit, and does not change the batch."""

import copy

import numpy as np
import pytest
import torch
from mmpretrain.models.utils import ClsDataPreprocessor
from mmpretrain.structures import DataSample

from mmdensenet.models.data_preprocessor import InPlaceDataPreprocessor, normalise_in_place

NORMALISE = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
MIXUP = dict(augments=[dict(type='Mixup', alpha=0.8)])


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('dtype', [torch.uint8, torch.float32, torch.int16])
@pytest.mark.parametrize(
    'arguments',
    [
        NORMALISE | dict(to_rgb=True),
        NORMALISE,
        dict(to_rgb=True),
        NORMALISE | dict(pad_size_divisor=8, pad_value=3),
        NORMALISE | dict(to_rgb=True, batch_augments=MIXUP, num_classes=4),
    ],
    ids=['rgb', 'as-it-is', 'no-mean', 'padded', 'mixup'],
)
def test_numbers_are_mmpretrains(arguments, dtype, training):
    theirs = ClsDataPreprocessor(**copy.deepcopy(arguments))
    ours = ClsDataPreprocessor(**copy.deepcopy(arguments))
    model = torch.nn.Module()
    model.data_preprocessor = ours
    normalise_in_place(model)
    assert type(ours) is InPlaceDataPreprocessor
    images = torch.randint(0, 256, (3, 3, 9, 7)).to(dtype)
    results = []
    for preprocessor in (theirs, ours, copy.deepcopy(ours)):
        batch = images.clone()
        torch.manual_seed(0)
        np.random.seed(0)
        data = dict(inputs=batch, data_samples=[DataSample().set_gt_label(label) for label in range(3)])
        results.append(preprocessor(data, training))
        assert torch.equal(batch, images), 'the batch is not written to'
    for found in results[1:]:
        assert torch.equal(found['inputs'], results[0]['inputs'])
        for a, b in zip(found['data_samples'], results[0]['data_samples']):
            assert a.keys() == b.keys() and torch.equal(a.gt_label, b.gt_label)
    assert ours._enable_normalize == theirs._enable_normalize and ours.state_dict().keys() == theirs.state_dict().keys()


@pytest.mark.parametrize('arguments', [{}, dict(to_onehot=True, num_classes=4)], ids=['labels', 'one-hot'])
@pytest.mark.parametrize('scores', [False, True])
def test_samples_are_mmpretrains(arguments, scores):
    results = []
    for kind in (ClsDataPreprocessor, InPlaceDataPreprocessor):
        samples = [DataSample(metainfo=dict(name=str(n))).set_gt_label([n, 3] if n else n) for n in range(3)]
        if scores:
            samples = [sample.set_gt_score(torch.full((4,), 0.25)) for sample in samples]
        data = dict(inputs=torch.zeros(3, 3, 2, 2, dtype=torch.uint8), data_samples=samples)
        results.append(kind(**NORMALISE, **arguments)(data, training=True)['data_samples'])
        assert data['data_samples'] is samples
    for theirs, ours in zip(*results):
        assert {*theirs.all_keys()} == {*ours.all_keys()} and theirs.name == ours.name
        assert all(torch.equal(theirs.get(key), ours.get(key)) for key, _ in theirs.items())
    unlabelled = dict(inputs=torch.zeros(1, 3, 2, 2, dtype=torch.uint8), data_samples=[DataSample()])
    assert InPlaceDataPreprocessor(**NORMALISE)(unlabelled)['data_samples'][0].keys() == []


def test_lists_and_other_classes():
    theirs, ours = ClsDataPreprocessor(**NORMALISE), InPlaceDataPreprocessor(**NORMALISE)
    images = [torch.randint(0, 256, (3, 5, 6), dtype=torch.uint8) for _ in range(2)]
    assert torch.equal(ours(dict(inputs=images))['inputs'], theirs(dict(inputs=images))['inputs'])

    class Mine(ClsDataPreprocessor):
        pass

    model = torch.nn.Module()
    model.data_preprocessor = Mine(**NORMALISE)
    normalise_in_place(model)
    assert type(model.data_preprocessor) is Mine
