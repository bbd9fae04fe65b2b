"""Confusion matrices and counts of labels, from files of predictions."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from mmdensenet.errors import UserError
from mmdensenet.results.class_metrics import count_confusions, count_labels
from mmdensenet.results.figures import SHARES, contrasting, label_ticks, new_figure, shorten
from mmdensenet.results.predictions import read_columns
from mmdensenet.results.scores import one_hot, require_labels, truth_of_labels

NORMALISATIONS = ('true', 'predicted', 'none')

#: with more classes, cells have no numbers
MOST_NUMBERS = 25


@dataclass
class Predictions:
    """Labels of images.

    Attributes:
        truth: (N,) classes; or with several labels (N, L) of 1, 0 and, where unknown, -1.
        predicted: (N,) classes; or (N, L) of 1 and 0.
        classes: their number, C or L.
        decided: ``predicted`` is what a checkpoint's decisions say, not the largest score.
    """

    truth: np.ndarray
    predicted: np.ndarray
    classes: int
    decided: bool = False

    @property
    def multi_label(self) -> bool:
        return self.truth.ndim == 2


def read_predictions(file: str | Path) -> Predictions:
    """Read a file of ``tools/test.py --out FILE.npz``, ``.json`` or ``.parquet``. Labels are those that were decided,
    where the checkpoint has decisions; labels that are not decided are unknown ones.

    Raises:
        UserError: if it is no such file, or has no true labels.
    """
    columns = read_columns(file)
    try:
        return replace(_predictions(columns, file), decided='decided_label' in columns)
    except (ValueError, TypeError) as error:
        raise UserError(f'{file} is no file of predictions ({error}); `mmdensenet test --out` writes one.') from error


def confusion_matrix(predictions: Predictions) -> np.ndarray:
    """(C, C) numbers of images, true classes in rows, predicted ones in columns."""
    return count_confusions(predictions.truth, predictions.predicted, predictions.classes)


def label_counts(predictions: Predictions) -> np.ndarray:
    """(L, 4) for each label: true positives, false negatives, false positives, true negatives, without unknown ones."""
    return count_labels(predictions.truth, predictions.predicted).reshape(-1, 4)


def most_confused(matrix: np.ndarray, count: int = 5) -> list[tuple[int, int, int]]:
    """(true class, predicted class, images) of the most frequent confusions, most frequent first.

    >>> most_confused(np.array([[5, 2, 0], [3, 4, 0], [0, 1, 9]]), 2)
    [(1, 0, 3), (0, 1, 2)]
    """
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind='stable')[:count]
    pairs = [divmod(int(i), matrix.shape[1]) for i in order]
    return [(t, p, int(wrong[t, p])) for t, p in pairs if wrong[t, p]]


def confusion_figure(
    matrix: np.ndarray,
    classes: Sequence[str] | None = None,
    normalise: str = 'true',
    title: str = '',
    as_shapes: bool = False,
) -> Figure:
    """Draw a confusion matrix.

    Args:
        normalise: 'true' shows percent of each true class (rows sum to 100), 'predicted' percent of each predicted
            class, 'none' images.
        as_shapes: draw each cell as a shape with the gid 'cells', for an SVG; otherwise the matrix is one image.
    """
    if normalise not in NORMALISATIONS:
        raise UserError(f'normalise {normalise!r}: choose one of {", ".join(NORMALISATIONS)}.')
    count = len(matrix)
    values = matrix.astype(float)
    if normalise != 'none':
        sums = values.sum(1 if normalise == 'true' else 0, keepdims=True)
        values = 100 * np.divide(values, sums, out=np.zeros_like(values), where=sums > 0)
    side = min(12, 3.2 + 0.42 * count)
    figure = new_figure(side + 1.4, side, title)
    axes = figure.add_subplot()
    top = 100 if normalise != 'none' else max(values.max(), 1)
    # with many classes each confusion is rare, and a linear scale would hide it
    scale = PowerNorm(1 if count <= MOST_NUMBERS else 0.4, 0, top)
    if as_shapes:
        edges = np.arange(count + 1) - 0.5
        image = axes.pcolormesh(edges, edges, values, cmap=SHARES, norm=scale, gid='cells')
        axes.set(aspect='equal', ylim=(count - 0.5, -0.5))
    else:
        image = axes.imshow(values, cmap=SHARES, norm=scale, interpolation='antialiased')
    names = [shorten(name) for name in classes] if classes is not None else [str(i) for i in range(count)]
    rotation = 0 if max(map(len, names)) <= 2 else 45 if count <= MOST_NUMBERS else 90
    label_ticks(axes.xaxis, names, 50, rotation)
    label_ticks(axes.yaxis, names, 50)
    axes.set_xlabel('predicted', labelpad=8)
    axes.set_ylabel('true', labelpad=8)
    if count <= MOST_NUMBERS:
        texts = [[_number(value, matrix[i, j]) for j, value in enumerate(row)] for i, row in enumerate(values)]
        contrasting(axes, image, values, texts, fontsize=8 if count <= 12 else 6)
    unit = {'true': '% of the true class', 'predicted': '% of the predicted class', 'none': 'images'}[normalise]
    solids = figure.colorbar(image, ax=axes, label=unit, shrink=0.8).solids
    solids.set_rasterized(False)
    solids.set_edgecolor('face')  # no seams between its colours
    return figure


def label_counts_figure(counts: np.ndarray, classes: Sequence[str] | None = None, title: str = '') -> Figure:
    """Draw :func:`label_counts`, a row for each label: percent of the images with and without it, and the numbers."""
    names = [shorten(name) for name in classes] if classes is not None else [str(i) for i in range(len(counts))]
    figure = new_figure(7.2, 1.8 + 0.36 * len(counts), title)
    axes = figure.add_subplot()
    pairs = counts.reshape(-1, 2, 2).astype(float)
    sums = pairs.sum(2, keepdims=True)
    shares = 100 * np.divide(pairs, sums, out=np.zeros_like(pairs), where=sums > 0).reshape(-1, 4)
    image = axes.imshow(shares, cmap=SHARES, vmin=0, vmax=100, interpolation='nearest', aspect='auto')
    axes.axvline(1.5, color='black', linewidth=1)
    heads = ['present,\npredicted', 'present,\nmissed', 'absent,\npredicted', 'absent,\nnot predicted']
    label_ticks(axes.xaxis, heads, 4)
    label_ticks(axes.yaxis, names, 60)
    texts = [[f'{share:.0f}% ({count})' for share, count in zip(*row)] for row in zip(shares, counts)]
    contrasting(axes, image, shares, texts, fontsize=8)
    figure.colorbar(image, ax=axes, label='% of the images with, and without, the label')
    return figure


def _number(value: float, images: int) -> str:
    if not images:
        return ''
    return f'{value:.0f}' if value >= 0.5 else '<1'


def _predictions(columns: dict, file: str | Path) -> Predictions:
    if 'pred_label' not in columns or 'pred_score' not in columns or not len(columns['pred_score']):
        raise UserError(f'{file} has no predictions: `mmdensenet test --out` writes them.')
    count = np.size(columns['pred_score'][0])
    images = len(columns['pred_score'])
    labels, predicted = columns.get('gt_label'), columns.get('decided_label', columns['pred_label'])
    several = 'gt_score' in columns and labels is None
    several |= any(np.ndim(value) for part in (labels, predicted) if part is not None for value in part)
    if not several:
        known = np.asarray([] if labels is None else labels, dtype=np.int64) >= 0
        if not known.any():
            raise UserError(f'{file} has no true labels.')
        parts = (require_labels(np.asarray(part)[known], count, file) for part in (labels, predicted))
        return Predictions(*parts, count)
    truth = truth_of_labels(columns, images, count, file)
    if 'undecided_label' in columns:  # as if they were not known
        truth[one_hot(columns['undecided_label'], count, file) == 1] = -1
    return Predictions(truth, one_hot(predicted, count, file), count)
