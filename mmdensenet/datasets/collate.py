"""Samples to a batch that a worker hands over in one piece."""

from collections.abc import Sequence
from functools import partial

import torch
from mmengine.dataset import default_collate
from mmpretrain.structures import DataSample
from torch.utils.data import DataLoader

from .pack_batch import PackedBatch


class SampleList(list):
    """The data samples of a batch. Between processes their tensors go as bytes within one message.

    torch's way opens a file in shared memory for each, which costs more than a small image's decoding.
    """

    def __reduce__(self):
        return _join, ([_apart(sample) for sample in self],)

    def __copy__(self):
        return SampleList(self)


def collate(samples: Sequence[dict]) -> dict:
    """mmengine's ``default_collate``: inputs (N, C, H, W), and a :class:`SampleList`."""
    if type(samples) is PackedBatch:
        return dict(inputs=samples.inputs, data_samples=SampleList(samples.data_samples))
    batch = default_collate(samples)
    if isinstance(batch, dict):
        listed = batch.get('data_samples')
        if isinstance(listed, list) and all(type(sample) is DataSample and _is_plain(sample) for sample in listed):
            batch['data_samples'] = SampleList(listed)
    return batch


def quicken_collate(dataloader: DataLoader) -> None:
    """:func:`collate` in the place of mmengine's."""
    function = dataloader.collate_fn
    if isinstance(function, partial) and function.func is default_collate and not function.keywords:
        dataloader.collate_fn = collate


def _is_plain(sample: DataSample) -> bool:
    for name in sample._data_fields:  # its values() takes longer than the rest of collating
        value = vars(sample)[name]
        if type(value) is not torch.Tensor or not value.is_cpu:
            return False
    return True


def _apart(sample: DataSample) -> tuple[dict, dict]:
    return dict(sample.metainfo_items()), {key: value.numpy() for key, value in sample.items()}


def _join(parts: list[tuple[dict, dict]]) -> SampleList:
    samples = SampleList()
    for meta, data in parts:
        sample = DataSample()
        for key, value in meta.items():
            sample.set_field(value, key, field_type='metainfo')
        for key, value in data.items():
            sample.set_field(torch.from_numpy(value), key)
        samples.append(sample)
    return samples
