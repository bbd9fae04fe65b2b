"""The usual steps of pipelines, with the same pixels in less time.

:func:`quicken_steps` puts them in the place of mmpretrain's in data sets that are built, so configs stay as they are.
They draw what mmpretrain's draw, from numpy's generator; or, in a pipeline of which all steps are known, from
:mod:`~mmdensenet.datasets.uniforms`, with the same distributions. Images that are neither (H, W, 3) nor (H, W), uint8,
go mmpretrain's way.
"""

import copy
import math
import pickle
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from operator import getitem

import cv2
import numpy as np
import torch
from mmcv.image.geometric import cv2_interp_codes
from mmcv.transforms import BaseTransform, CenterCrop, Resize
from mmengine.dataset import BaseDataset, ClassBalancedDataset, Compose, ConcatDataset, RepeatDataset
from mmpretrain.datasets import KFoldDataset, MultiTaskDataset
from mmpretrain.datasets.transforms import PackInputs, RandomCrop, RandomFlip, RandomResizedCrop, ResizeEdge

from .grey_image import LoadGreyImage
from .load_image import LoadImage
from .pack_batch import QuickPack, is_usual
from .svhn import SVHN
from .uniforms import Uniforms, current
from .wrappers import all_datasets


class QuickResizedCrop(RandomResizedCrop):
    """RandomResizedCrop: OpenCV resizes what it reads from the image, without a copy of the crop."""

    def transform(self, results: dict) -> dict:
        image, numbers = results['img'], current()
        if not is_usual(image) or self.backend != 'cv2':
            return _as_mmpretrain(super().transform, results)
        if numbers is None:
            top, left, height, width = self.rand_crop_params(image)
        else:
            top, left, height, width = self._box(*image.shape[:2], numbers)
        crop = image[top : top + height, left : left + width]
        results['img'] = cv2.resize(crop, tuple(self.scale[::-1]), interpolation=cv2_interp_codes[self.interpolation])
        results['img_shape'] = results['img'].shape
        return results

    def _box(self, height: int, width: int, numbers: Uniforms) -> tuple[int, int, int, int]:
        """Top, left, height, width: as Inception's crops (arXiv:1409.4842) are drawn."""
        low, high = (math.log(ratio) for ratio in self.aspect_ratio_range)
        for _ in range(self.max_attempts):
            area = numbers.between(*self.crop_ratio_range) * height * width
            ratio = math.exp(numbers.between(low, high))
            w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < w <= width and 0 < h <= height:
                return numbers.integer(height - h + 1), numbers.integer(width - w + 1), h, w
        # the largest crop in the middle, whose ratio is within the range
        smallest, largest = min(self.aspect_ratio_range), max(self.aspect_ratio_range)
        h = round(width / smallest) if width / height < smallest else height
        w = round(height * largest) if width / height > largest else width
        return (height - h) // 2, (width - w) // 2, h, w


class QuickCrop(RandomCrop):
    """RandomCrop with a constant border on all sides, of which only what is in the crop is made."""

    def transform(self, results: dict) -> dict:
        image, numbers = results['img'], current()
        border, (height, width) = self.padding or 0, self.crop_size
        is_simple = isinstance(border, int) and isinstance(self.pad_val, int) and not self.pad_if_needed
        if numbers is None or not (is_usual(image) and is_simple and self.padding_mode == 'constant'):
            return _as_mmpretrain(super().transform, results)
        rows, columns = image.shape[0] + 2 * border, image.shape[1] + 2 * border
        height, width = min(height, rows), min(width, columns)
        top = numbers.integer(rows - height + 1) - border
        left = numbers.integer(columns - width + 1) - border
        crop = np.full((height, width, *image.shape[2:]), self.pad_val, np.uint8)
        inside = image[max(top, 0) : max(top + height, 0), max(left, 0) : max(left + width, 0)]
        y, x = max(-top, 0), max(-left, 0)
        crop[y : y + inside.shape[0], x : x + inside.shape[1]] = inside
        results['img'], results['img_shape'] = crop, crop.shape
        return results


#: what mmcv's RandomFlip turns with the image
_FLIPPED_TOO = ('gt_bboxes', 'gt_keypoints', 'gt_seg_map')


class QuickFlip(RandomFlip):
    """RandomFlip of an image alone, in one direction with one probability."""

    def transform(self, results: dict) -> dict:
        numbers, axis = current(), {'horizontal': 1, 'vertical': 0}.get(str(self.direction))
        is_simple = axis is not None and isinstance(self.prob, float) and results.keys().isdisjoint(_FLIPPED_TOO)
        if numbers is None or not (is_simple and is_usual(results['img'])):
            return _as_mmpretrain(super().transform, results)
        results['flip'] = numbers() < self.prob
        results['flip_direction'] = self.direction if results['flip'] else None
        if results['flip']:
            results['img'] = cv2.flip(results['img'], axis)
        return results


QUICK = {RandomResizedCrop: QuickResizedCrop, RandomCrop: QuickCrop, RandomFlip: QuickFlip, PackInputs: QuickPack}
_WITHOUT_NUMPY = {*QUICK.values(), LoadImage, LoadGreyImage, ResizeEdge, CenterCrop, Resize}

#: how a data set may read a sample: methods that look it up, run its pipeline, or ask the data set inside, and draw
#: nothing unless a step returns None, which those of _WITHOUT_NUMPY do not
_READERS = ('__getitem__', 'prepare_data', 'get_data_info')
_KNOWN_READERS = frozenset(
    getattr(kind, name)
    for kind in (
        *(BaseDataset, MultiTaskDataset, SVHN, KFoldDataset),
        *(ConcatDataset, RepeatDataset, ClassBalancedDataset, torch.utils.data.ConcatDataset, torch.utils.data.Subset),
    )
    for name in _READERS
    if hasattr(kind, name)
)


def quicken_steps(dataset) -> None:
    """Replace steps of exactly mmpretrain's classes, in all data sets inside any wrappers."""
    for steps in _pipelines(dataset):
        for number, step in enumerate(steps):
            quick = QUICK.get(type(step))
            if quick is not None:
                steps[number] = copy.copy(step)
                steps[number].__class__ = quick


def draws_from_uniforms(dataset) -> bool:
    """Whether no data set and no step of any pipeline inside draws from the generators of numpy, Python or torch.

    True only where all that happens to a sample is known: the methods of its data sets, its pipeline and each step.
    """
    parts = list(all_datasets(dataset))
    pipelines = [part.pipeline for part in parts if getattr(part, 'pipeline', None) is not None]
    steps = [step for pipeline in pipelines if type(pipeline) is Compose for step in pipeline.transforms]
    return (
        all(_reads_as_known(part) for part in parts)
        and bool(pipelines)
        and all(type(pipeline) is Compose for pipeline in pipelines)
        and all(type(step) in _WITHOUT_NUMPY for step in steps)
    )


def packs_last(dataset) -> bool:
    """Whether the last step of each pipeline inside, and no other, is :class:`QuickPack`."""
    return all(
        type(steps[-1]) is QuickPack and not any(type(step) is QuickPack for step in steps[:-1])
        for steps in _pipelines(dataset)
        if steps
    )


def reader_of(dataset) -> Callable[[int], object]:
    """``dataset[index]``, for a data set of which :func:`draws_from_uniforms` holds.

    The steps of a plain one are called one after the other, without the five calls in between, which take as long as
    the steps of a small image.
    """
    if not _is_plain(dataset):
        return partial(getitem, dataset)
    steps = dataset.pipeline.transforms
    transforms, info = [step.transform for step in steps], _info_of(dataset)

    def read(index: int):
        results = info(index)
        for transform in transforms:
            results = transform(results)
        return results

    return read


def _is_plain(dataset) -> bool:
    """Whether ``dataset[index]`` is mmengine's, which calls mmcv's steps."""
    is_mmengines = all(getattr(type(dataset), name, None) is getattr(BaseDataset, name) for name in _READERS[:2])
    return (
        is_mmengines
        and dataset._fully_initialized
        and all(type(step).__call__ is BaseTransform.__call__ for step in dataset.pipeline.transforms)
    )


def _info_of(dataset: BaseDataset) -> Callable[[int], dict]:
    """``dataset.get_data_info``, and of mmengine's own that without its checks of what cannot change any more."""
    if type(dataset).get_data_info is not BaseDataset.get_data_info or not dataset.serialize_data:
        return dataset.get_data_info
    content, ends = memoryview(dataset.data_bytes), dataset.data_address

    def info(index: int) -> dict:
        results = pickle.loads(content[ends.item(index - 1) if index else 0 : ends.item(index)])
        results['sample_idx'] = index
        return results

    return info


def _reads_as_known(dataset) -> bool:
    kind = type(dataset)
    methods = [getattr(kind, name) for name in _READERS if hasattr(kind, name)]
    return vars(dataset).keys().isdisjoint(_READERS) and all(method in _KNOWN_READERS for method in methods)


def _pipelines(dataset):
    for part in all_datasets(dataset):
        steps = getattr(getattr(part, 'pipeline', None), 'transforms', None)
        if isinstance(steps, list):
            yield steps


def _as_mmpretrain(transform: Callable[[dict], dict], results: dict) -> dict:
    """mmpretrain's step, which draws from numpy's generator: seeded from the sample's numbers, where it has its own."""
    numbers = current()
    with nullcontext() if numbers is None else numbers.as_numpys():
        return transform(results)
