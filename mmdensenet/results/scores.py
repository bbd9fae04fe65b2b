"""Scores and true labels of a test set, as tools/test.py writes them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mmdensenet.datasets.labels import POSITIVE_ABOVE
from mmdensenet.errors import UserError
from mmdensenet.results.predictions import read_columns


@dataclass
class Scores:
    """A model's scores of each image, and the true labels.

    Attributes:
        scores: (N, C) probabilities; of several labels each on its own.
        truth: (N,) classes; or with several labels (N, C) of 1, 0 and, where unknown, -1.
        index: (N,) places in the data set.
        paths: of the images; '' for an image without a file.
        classes: C names.
        threshold: with several labels, the lowest score at which a label is predicted.
        groups: (N,) numbers of groups that are resampled together, such as patients; None resamples single images.
        logits: (N, C) float64, from which softmax or sigmoid computed the scores; None if they were not stored.
        augmented: the scores are means over test-time augmentations.
        positive: (N, C) mask of the labels that were decided, see :func:`mmdensenet.results.decided.decided_scores`;
            None where nothing was: the largest score is predicted, or all from ``threshold`` on.
        undecided: names of labels without an operating point, which are never predicted.
    """

    scores: np.ndarray
    truth: np.ndarray
    index: np.ndarray
    paths: list[str]
    classes: list[str]
    threshold: float = 0.5
    groups: np.ndarray | None = None
    logits: np.ndarray | None = None
    augmented: bool = False
    positive: np.ndarray | None = None
    undecided: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def multi_label(self) -> bool:
        return self.truth.ndim == 2

    def take(self, which: np.ndarray) -> 'Scores':
        """The scores of some images, selected by indices or a mask (N,)."""
        which = np.arange(len(self))[which]
        some = {
            name: None if (values := getattr(self, name)) is None else values[which]
            for name in ('scores', 'truth', 'index', 'groups', 'logits', 'positive')
        }
        return replace(self, paths=[self.paths[i] for i in which], **some)

    @property
    def predicted(self) -> np.ndarray:
        """(N,) classes, or (N, C) of True and False."""
        if self.positive is not None:
            return self.positive if self.multi_label else self.positive.argmax(1)
        return self.scores >= self.threshold if self.multi_label else self.scores.argmax(1)

    @property
    def is_decided(self) -> np.ndarray:
        """(C,) mask of the classes that can be predicted."""
        return ~np.isin(self.classes, self.undecided)

    @property
    def targets(self) -> np.ndarray:
        """(N, C) of 1, 0 and -1: each class against the others."""
        return self.truth if self.multi_label else np.eye(len(self.classes), dtype=np.int8)[self.truth]


def join_scores(parts: Sequence[Scores]) -> Scores:
    """The scores of several parts together, such as the held-out images of each fold.

    A group belongs to one part. If one part has no groups, the result has none. What was decided is left out.

    Raises:
        UserError: if the parts have other classes.
    """
    if not parts or any(part.classes != parts[0].classes for part in parts):
        raise UserError('the parts have other classes than each other, or there are none.')

    def joined(arrays: list) -> np.ndarray | None:
        return None if any(array is None for array in arrays) else np.concatenate(arrays)

    together = {name: joined([getattr(p, name) for p in parts]) for name in ('scores', 'truth', 'index', 'logits')}
    numbers, first = [], 0
    for part in parts:
        of_part = None if part.groups is None else np.unique(part.groups, return_inverse=True)[1].ravel()
        numbers.append(None if of_part is None else of_part + first)
        first += 0 if of_part is None else len(np.unique(of_part))
    paths = [path for part in parts for path in part.paths]
    return replace(parts[0], paths=paths, groups=joined(numbers), positive=None, undecided=(), **together)


def read_scores(
    file: str | Path, multi_label: bool, classes: Sequence[str] | None = None, threshold: float = 0.5
) -> Scores:
    """Read what ``tools/test.py --out FILE`` wrote (.json, .npz, .parquet).

    Images whose class is not known (negative) are left out.

    Raises:
        UserError: if it is no such file, has no true labels, or its labels do not fit.
    """
    return scores_of_columns(read_columns(file), file, multi_label, classes, threshold)


def scores_of_columns(
    columns: dict, file: str | Path, multi_label: bool, classes: Sequence[str] | None = None, threshold: float = 0.5
) -> Scores:
    """The same from columns of predictions; ``file`` is their name in messages."""
    try:
        scores = np.stack([np.atleast_1d(np.asarray(row, dtype=np.float64)) for row in columns['pred_score']])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f'{file} is no file of predictions ({type(error).__name__}: {error}): write one with `mmdensenet test '
            '--out FILE.npz`.'
        ) from error
    count = scores.shape[1]
    names = [str(name) for name in classes] if classes is not None else [str(i) for i in range(count)]
    if len(names) != count:
        raise UserError(f'{file} has scores of {count} classes, and the model has {len(names)}.')
    truth = _truth(columns, len(scores), count, multi_label, file)
    index = np.asarray(columns.get('sample_idx', np.arange(len(scores))), dtype=np.int64).reshape(-1)
    paths = [str(path or '') for path in columns.get('img_path', [''] * len(scores))]
    known = (truth >= 0) if truth.ndim == 1 else np.ones(len(truth), bool)
    if not known.any():
        raise UserError(f'{file}: no image has a true label, so there is nothing to report.')
    paths = [path for path, keep in zip(paths, known) if keep]
    logits = np.stack([np.atleast_1d(row) for row in columns['logits']]).astype(float) if 'logits' in columns else None
    if logits is not None:
        if logits.shape != scores.shape:
            raise UserError(f'{file} has logits of other classes than its scores.')
        logits = logits[known]
    augmented = bool(np.any(columns.get('tta', False)))
    return Scores(
        scores[known], truth[known], index[known], paths, names, threshold, logits=logits, augmented=augmented
    )


def best_classes(scores: np.ndarray, classes: Sequence[str] | None, count: int) -> list[dict]:
    """The ``count`` classes with the highest scores: ``label``, ``score``, and ``class`` where names are known.

    Args:
        scores: one per class, as ``pred_scores`` of a result.

    >>> best_classes(np.array([0.25, 0.75]), ['cat', 'dog'], 1)
    [{'label': 1, 'score': 0.75, 'class': 'dog'}]
    """
    order = (-scores).argsort(kind='stable')[:count].tolist()
    entries = [dict(label=label, score=float(scores[label])) for label in order]
    return entries if classes is None else [{**entry, 'class': classes[entry['label']]} for entry in entries]


def _truth(columns: dict, images: int, count: int, multi_label: bool, file) -> np.ndarray:
    if not multi_label:
        if 'gt_label' not in columns:
            raise UserError(f'{file} has no true labels (gt_label), so there is nothing to report.')
        truth = np.asarray([_only(label) for label in columns['gt_label']], dtype=np.int64)
        require_labels(truth[truth >= 0], count, file)
        return truth
    return truth_of_labels(columns, images, count, file)


def truth_of_labels(columns: dict, images: int, count: int, file: str | Path) -> np.ndarray:
    """(N, C) of 1, 0 and, where unknown, -1, from columns of predictions of several labels; soft ones are rounded."""
    if 'gt_score' in columns:
        truth = np.asarray([np.atleast_1d(row) for row in columns['gt_score']], dtype=np.float64).reshape(images, count)
        return np.where(truth < 0, -1.0, truth > POSITIVE_ABOVE)
    if 'gt_label' not in columns:
        raise UserError(f'{file} has no true labels (gt_score or gt_label), so there is nothing to report.')
    return one_hot(columns['gt_label'], count, file)


def one_hot(labels: Sequence, count: int, file: str | Path) -> np.ndarray:
    """(N, C) of 1 and 0 for the labels that each image of a file has, a number or several.

    Raises:
        UserError: for a label that is none of the model's, such as -1.
    """
    rows = np.zeros((len(labels), count))
    for row, some in zip(rows, labels):
        row[require_labels(some, count, file)] = 1
    return rows


def require_labels(labels, count: int, file: str | Path) -> np.ndarray:
    """The labels of a file as (N,) int64.

    Raises:
        UserError: for one that is none of the model's, such as -1.
    """
    labels = np.asarray(labels, dtype=np.int64).reshape(-1)
    if (wrong := labels[(labels < 0) | (labels >= count)]).size:
        raise UserError(f'{file} has the label {wrong[0]}, and the model only {count} classes, numbered from 0.')
    return labels


def _only(label) -> int:
    values = np.asarray(label).reshape(-1)
    if len(values) != 1:
        raise UserError(f'a true label is {label!r}: the head is for one class per image.')
    return int(values[0])
