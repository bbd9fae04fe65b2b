"""PackInputs for the images of a batch together: into the batch's memory, without a tensor of each that is copied."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from mmpretrain.datasets.transforms import PackInputs
from mmpretrain.structures import DataSample
from torch.utils.data import get_worker_info

#: bytes of a batch that stay in a processor's cache between one step and the next
_TOGETHER = 1 << 19
_UINT8 = np.dtype(np.uint8)
_packs_later = False


class packing_later:  # noqa: N801  a context
    """Within it :class:`QuickPack` hands over what it would pack, for :func:`pack_batch`."""

    def __init__(self, later: bool):
        self._later = later

    def __enter__(self) -> None:
        global _packs_later
        self._before, _packs_later = _packs_later, self._later

    def __exit__(self, *error) -> None:
        global _packs_later
        _packs_later = self._before


class Unpacked(NamedTuple):
    """What ``step`` is to pack."""

    step: QuickPack
    results: dict


class QuickPack(PackInputs):
    """PackInputs: OpenCV divides the channels, and an image's label is set without checks of each field."""

    def transform(self, results: dict) -> dict | Unpacked:
        image, label = results.get(self.input_key), results.get('gt_label')
        if not is_usual(image) or not isinstance(label, int) or self.algorithm_keys or 'mask' in results:
            return super().transform(results)
        if not _packs_later:
            return _pack_one(self, results)
        if image.base is not None:  # the rest of a whole photograph is not kept until the batch is read
            results[self.input_key] = image.copy()
        return Unpacked(self, results)


class PackedBatch(Sequence):
    """Samples whose inputs are the parts of one tensor.

    Attributes:
        inputs: (N, C, H, W), uint8.
        data_samples: N of them.
    """

    def __init__(self, inputs: torch.Tensor, data_samples: list[DataSample]):
        self.inputs = inputs
        self.data_samples = data_samples

    def __len__(self) -> int:
        return len(self.data_samples)

    def __getitem__(self, number):
        if isinstance(number, slice):
            return [self[one] for one in range(*number.indices(len(self)))]
        return dict(inputs=self.inputs[number], data_samples=self.data_samples[number])


def pack_batch(samples: list[dict | Unpacked]) -> Sequence[dict]:
    """What PackInputs makes of each; a :class:`PackedBatch` if all are unpacked images of one shape."""
    alike = all(type(sample) is Unpacked for sample in samples)
    if alike and len({results[step.input_key].shape for step, results in samples}) == 1:
        return _pack_all(samples)
    return [_pack_one(*sample) if type(sample) is Unpacked else sample for sample in samples]


def _pack_one(step: QuickPack, results: dict) -> dict:
    image = results[step.input_key]
    planes = np.empty((image.shape[2] if image.ndim == 3 else 1, *image.shape[:2]), np.uint8)
    cv2.split(np.ascontiguousarray(image), list(planes))  # of a view it is three times slower
    sample = _data_sample(step, results, np.array([results['gt_label']], np.int64))
    return dict(inputs=torch.from_numpy(planes), data_samples=sample)


def _pack_all(samples: list[Unpacked]) -> PackedBatch:
    images = [results[step.input_key] for step, results in samples]
    height, width, *channels = images[0].shape
    inputs = _empty((len(images), *(channels or (1,)), height, width))
    divide = _divide_together if inputs.numel() <= _TOGETHER else _divide
    divide(images, inputs.numpy())
    labels = np.array([[results['gt_label']] for _, results in samples], np.int64)
    return PackedBatch(inputs, [_data_sample(*sample, label) for sample, label in zip(samples, labels)])


def _empty(shape: tuple[int, ...]) -> torch.Tensor:
    """uint8; in a worker in shared memory, in which torch's collating has a batch too, so that it is not copied."""
    if get_worker_info() is None:
        return torch.empty(shape, dtype=torch.uint8)
    shared = torch.UntypedStorage._new_shared(math.prod(shape))
    return torch.empty(0, dtype=torch.uint8).set_(shared).view(shape)


def _divide(images: list[np.ndarray], planes: np.ndarray) -> None:
    """Images (H, W, C) or (H, W) to (N, C, H, W)."""
    for image, *own in zip(images, *planes.swapaxes(0, 1)):
        cv2.split(np.ascontiguousarray(image), own)


def _divide_together(images: list[np.ndarray], planes: np.ndarray) -> None:
    """The same as of one tall image: two copies more and fewer calls, by which small images are ahead."""
    tall = np.concatenate(images)
    divided = np.empty((planes.shape[1], *tall.shape[:2]), np.uint8)
    cv2.split(tall, tuple(divided))
    planes.swapaxes(0, 1)[:] = divided.reshape(planes.shape[1], len(images), *planes.shape[2:])


def _data_sample(step: QuickPack, results: dict, label: np.ndarray) -> DataSample:
    """The fields that set_field sets one by one."""
    sample = DataSample.__new__(DataSample)
    meta = {key: results[key] for key in step.meta_keys if key in results}
    fields = vars(sample)
    fields['_metainfo_fields'], fields['_data_fields'] = {*meta}, {'gt_label'}
    fields.update(meta)
    fields['gt_label'] = torch.from_numpy(label)
    if 'gt_score' in results:
        sample.set_gt_score(results['gt_score'])
    return sample


def is_usual(image) -> bool:
    """Whether it is (H, W, 3) or (H, W), uint8."""
    is_image = isinstance(image, np.ndarray) and image.dtype == _UINT8
    return is_image and (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3))
