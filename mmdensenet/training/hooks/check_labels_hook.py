"""Checks labels before the first step: otherwise a wrong one raises an index error or gives a wrong accuracy."""

from typing import Any

import numpy as np
from mmengine.dataset import InfiniteSampler
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop
from mmpretrain.models.classifiers import BaseClassifier
from mmpretrain.models.retrievers import BaseRetriever

from mmdensenet.datasets.class_lists import (
    ClassList,
    class_lists,
    class_lists_in_config,
    lists_of_tasks,
    require_same_classes,
)
from mmdensenet.datasets.divide_images import require_apart
from mmdensenet.datasets.labels import POSITIVE_ABOVE, source_of, unlabelled_parts
from mmdensenet.datasets.stated_classes import names_by_task, names_in, names_in_checkpoint
from mmdensenet.datasets.wrappers import leaf_configs, leaves, sample_info, sample_labels
from mmdensenet.errors import UserError
from mmdensenet.model_wrappers import unwrapped
from mmdensenet.registry import HOOKS
from mmdensenet.results import RankingMetric

from .check_tasks import require_tasks


@HOOKS.register_module()
class CheckLabelsHook(Hook):
    """Compare the classes of all parts of the data, and every label with the head's classes, before training and
    testing.

    A label means the same class in training, validation and test data and in a checkpoint only if all have the same
    class names in the same order. Training and validating a classifier need labels.

    Args:
        source: the name of the checkpoint in messages.

    Raises:
        UserError: for a part without labels, for parts whose classes differ, and for the first label outside
            0 .. num_classes - 1; the message names the file and the key to change.
    """

    def __init__(self, source: str = 'the checkpoint'):
        self.source = source
        self.trained: tuple[str, ...] | None = None
        self.trained_tasks: dict[str, tuple[str, ...]] = {}

    def after_load_checkpoint(self, runner, checkpoint: Any) -> None:
        meta = checkpoint.get('meta') if isinstance(checkpoint, dict) else None
        self.trained = names_in_checkpoint(meta)
        self.trained_tasks = names_by_task(meta.get('dataset_meta')) if isinstance(meta, dict) else {}

    def before_train(self, runner) -> None:
        for key, loop in dict(train=runner.train_loop, val=runner.val_loop).items():
            if loop is not None:
                _require_epoch(f'{key}_dataloader', loop)
        self._require_labels(runner)
        if runner.val_loop is not None:
            require_apart(runner.cfg)
        lists = self._of_checkpoint() if runner._resume else []
        built = [('train_dataloader', runner.train_dataloader.dataset)]
        if runner.val_loop is not None:
            built.append(('val_dataloader', runner.val_dataloader.dataset))
        self._check(runner, lists, built, ('test_dataloader',))
        head = _head(runner)
        require_tasks(head, 'train_dataloader', runner.train_dataloader.dataset)
        if runner.val_loop is not None:
            require_tasks(head, *built[-1], runner.val_evaluator)
            _require_topk(runner.val_evaluator, 'val_evaluator', getattr(head, 'num_classes', None))
            metrics = getattr(runner.val_evaluator, 'metrics', ())
            if any(isinstance(metric, RankingMetric) for metric in metrics):
                _require_both_kinds(runner.val_dataloader.dataset)

    def before_test(self, runner) -> None:
        built = [('test_dataloader', runner.test_dataloader.dataset)]
        lists = self._of_checkpoint()
        # without class names in the checkpoint, only the training data show its classes
        self._check(runner, lists, built, () if lists else ('train_dataloader', 'val_dataloader'))
        require_tasks(_head(runner), *built[0], runner.test_evaluator)
        _require_topk(runner.test_evaluator, 'test_evaluator', getattr(_head(runner), 'num_classes', None))

    def _of_checkpoint(self) -> list[ClassList]:
        if self.trained_tasks:
            return lists_of_tasks(self.trained_tasks, self.source, is_checkpoint=True)
        return [ClassList(self.source, self.trained, is_checkpoint=True)] if self.trained else []

    def _require_labels(self, runner) -> None:
        if not isinstance(unwrapped(runner.model), BaseClassifier):  # pre-training needs no labels
            return
        for key, loop in dict(train=runner.train_loop, val=runner.val_loop).items():
            without = [] if loop is None else unlabelled_parts(loop.dataloader.dataset)
            if without:
                raise UserError(
                    f'{key}_dataloader: the data set {source_of(without[0])} has no labels. Give one with labels'
                    + ('.' if key == 'train' else ', or train without validation with validate=False.')
                )

    def _check(self, runner, lists: list[ClassList], built: list[tuple[str, Any]], others: tuple[str, ...]) -> None:
        if isinstance(unwrapped(runner.model), BaseRetriever):  # the labels of queries are indices into the gallery
            return
        known = set()
        of_parts: dict[str, list[ClassList]] = {}
        for key, dataset in built:
            of_parts[key] = class_lists(dataset, f'{key}.dataset')
            known.update(repr(leaf) for _, leaf in leaf_configs((runner.cfg.get(key) or {}).get('dataset')))
        num_classes = getattr(_head(runner), 'num_classes', None)
        used = [each for part in of_parts.values() for each in part]
        for key in others:  # an inherited config may have an unused loader of other data
            found = class_lists_in_config(runner.cfg, key, known)
            of_parts[key] = [each for each in found if each.fits(num_classes) and each.shares_names(used)]
        for key in ('train_dataloader', 'val_dataloader', 'test_dataloader'):  # the others are compared with the first
            lists = [*lists, *of_parts.get(key, ())]
        require_same_classes(lists)
        if num_classes is None or not is_main_process():
            return
        for key, dataset in built:
            for leaf in leaves(dataset):
                _check_leaf(leaf, key, num_classes)


def _head(runner):
    return getattr(unwrapped(runner.model), 'head', None)


def _require_epoch(key: str, loop) -> None:
    """Refuse a data loader that yields no batch, and an epoch-based loop over a sampler that never ends."""
    loader = loop.dataloader
    if not len(loader.dataset):
        raise UserError(f'{key}: its data set has no images.')
    if not len(loader):
        raise UserError(
            f'{key}: {len(loader.dataset)} images are less than a batch, and drop_last=True leaves them out: set '
            f'{key}.drop_last=False, or a smaller batch_size.'
        )
    if isinstance(loader.sampler, InfiniteSampler) and not isinstance(loop, IterBasedTrainLoop):
        raise UserError(f'{key}.sampler: InfiniteSampler has no end, and so an epoch none: use DefaultSampler.')


def _require_both_kinds(dataset) -> None:
    """A ranking metric needs a label with both positive and negative images: else it is NaN in every epoch."""
    positive: set[int] = set()
    negative: set[int] = set()
    several = False
    for leaf in leaves(dataset):
        for index in range(len(leaf)):
            score = sample_info(leaf, index).get('gt_score')
            if score is None:
                positive.update(sample_labels(leaf, index) or ())
                continue
            several, score = True, np.asarray(score)
            positive.update(np.flatnonzero(score > POSITIVE_ABOVE).tolist())
            negative.update(np.flatnonzero((score >= 0) & (score <= POSITIVE_ABOVE)).tolist())
    if (positive or negative) and not (positive & negative if several else len(positive) > 1):
        raise UserError(
            'val_dataloader: no label has both images with it and images without it, so that the area under the '
            'ROC curve is undefined and no checkpoint would be the best: give a larger validation part.'
        )


def _require_topk(evaluator, key: str, num_classes: int | None) -> None:
    """Refuse topk below 1 or above the number of classes, and thresholds of 1 or more; mmpretrain does so after an
    epoch."""
    for metric in getattr(evaluator, 'metrics', ()) if num_classes is not None else ():
        topk = getattr(metric, 'topk', None)
        for k in topk if isinstance(topk, (list, tuple)) else ():
            if type(k) is not int or k < 1:
                raise UserError(f'{key}: topk={tuple(topk)}: give whole numbers of 1 or more.')
        for name in ('thrs', 'thr'):
            given = getattr(metric, name, None)
            for threshold in given if isinstance(given, (list, tuple)) else [given]:
                if isinstance(threshold, (int, float)) and threshold >= 1:
                    raise UserError(f'{key}: {name}={threshold}: scores are fractions of 1, and none is above it.')
        if isinstance(topk, (list, tuple)) and any(k > num_classes for k in topk):
            fits = tuple(k for k in topk if k <= num_classes) or (1,)
            raise UserError(
                f'{key}: topk={tuple(topk)}, and the model has {num_classes} classes: set {key}.topk={fits}.'
            )


def _check_leaf(dataset, key: str, num_classes: int) -> None:
    names = names_in(getattr(dataset, 'metainfo', None))
    for index in range(len(dataset)):
        labels = sample_labels(dataset, index)
        if labels is None and not index:  # a data set without labels
            return
        problem = None
        if labels is None:
            problem = 'has no label that can be read, and those before it have: correct it.'
        for label in labels or ():
            if not 0 <= label < num_classes:
                problem = (
                    f'has label {label}, but the head has {num_classes} classes, 0 to {num_classes - 1}. '
                    f'{_what_to_do(dataset)}'
                )
                break
            if names is not None and label >= len(names) and problem is None:
                problem = (
                    f'has label {label}, and its data set names {len(names)} classes, 0 to {len(names) - 1}: name all '
                    'of them.'
                )
        if problem:
            place = sample_info(dataset, index).get('img_path', f'sample {index}')
            raise UserError(f'{place} ({key}) {problem}')


def _what_to_do(dataset) -> str:
    """The advice for a label that the head lacks: in a data set of folders, a folder may be no class."""
    folders = getattr(dataset, 'folder_to_idx', None)
    if not folders:
        return 'Correct the label, or set model.head.num_classes.'
    with_images = {label for index in range(len(dataset)) for label in sample_labels(dataset, index) or ()}
    empty = [name for name, label in folders.items() if label not in with_images]
    if empty:
        return f'The folder {empty[0]!r} has no image and counts as a class: remove it.'
    names = sorted(folders)
    shown = ', '.join(map(repr, names[:20])) + (f' and {len(names) - 20} more' if len(names) > 20 else '')
    return f'The classes are its folders {shown}: remove what is no class. If all are, set model.head.num_classes.'
