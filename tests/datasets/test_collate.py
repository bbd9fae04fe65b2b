"""Batches are mmengine's, and are the same after they went from process to process."""

import copy
import pickle
from functools import partial
from multiprocessing.reduction import ForkingPickler
from types import SimpleNamespace

import torch
from mmengine.dataset import default_collate, pseudo_collate
from mmpretrain.structures import DataSample, MultiTaskDataSample

from mmdensenet.datasets.collate import SampleList, collate, quicken_collate


def samples(count=3):
    return [
        dict(
            inputs=torch.full((3, 4, 5), number, dtype=torch.uint8),
            data_samples=DataSample(metainfo=dict(img_path=f'{number}.jpg', img_shape=(4, 5)))
            .set_gt_label(number)
            .set_gt_score(torch.rand(2)),
        )
        for number in range(count)
    ]


def assert_same(found, expected):
    assert len(found) == len(expected)
    for a, b in zip(found, expected):
        assert dict(a.metainfo_items()) == dict(b.metainfo_items()) and a.keys() == b.keys()
        for key, value in b.items():
            assert torch.equal(a.get(key), value) and a.get(key).dtype == value.dtype


def test_a_batch_survives_its_way_to_another_process():
    whole = samples()
    batch, expected = collate(whole), default_collate(whole)
    assert torch.equal(batch['inputs'], expected['inputs'])
    assert_same(batch['data_samples'], expected['data_samples'])
    message = bytes(ForkingPickler.dumps(batch['data_samples']))
    assert b'torch' not in message, 'no tensor goes through shared memory'
    there = pickle.loads(message)
    assert type(there) is SampleList
    assert_same(there, expected['data_samples'])
    there[0].gt_label[0] = 9  # its own memory, which can be written to
    assert type(copy.copy(there)) is SampleList and copy.copy(there)[0] is there[0]


def test_other_samples_are_collated_as_before():
    tasks = [dict(inputs=torch.zeros(1), data_samples=MultiTaskDataSample()) for _ in range(2)]
    assert type(collate(tasks)['data_samples']) is list
    assert torch.equal(collate([torch.ones(2), torch.zeros(2)]), torch.tensor([[1.0, 1], [0, 0]]))


def test_only_mmengines_default_is_replaced():
    for function, replaced in ((partial(default_collate), True), (partial(pseudo_collate), False), (len, False)):
        loader = SimpleNamespace(collate_fn=function)
        quicken_collate(loader)
        assert loader.collate_fn is (collate if replaced else function)
