"""The charts of the report."""

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from mmdensenet.results.calibration import Bins
from mmdensenet.results.score_curves import Curve
from mmdensenet.results.training_curves import NOT_CURVES
from mmdensenet.results.training_curves import Curve as TrainingCurve

from .svg import Chart, heat_map, shorten

#: of more classes the confusion matrix has no numbers and bars have no names; of still more neighbours share a cell
MOST_NUMBERS, MOST_CELLS = 20, 50
MOST_POINTS = 400


def confusion_chart(matrix: np.ndarray, classes: Sequence[str]) -> tuple[Markup, int]:
    """Shares of each true class, and how many neighbouring classes share a row (1: none)."""
    together = -(-len(matrix) // MOST_CELLS)
    names = list(classes)
    if together > 1:
        starts = np.arange(0, len(matrix), together)
        matrix = np.add.reduceat(np.add.reduceat(matrix, starts, 0), starts, 1)
        names = [f'{start} to {min(start + together, len(classes)) - 1}' for start in starts]
    sums = matrix.sum(1, keepdims=True)
    shares = np.divide(matrix, sums, out=np.zeros(matrix.shape), where=sums > 0)
    texts = None
    if len(matrix) <= MOST_NUMBERS:
        texts = [[f'{count:,}' if count else '' for count in row] for row in matrix]

    def title(i: int, j: int) -> str:
        return f'true {names[i]}, predicted {names[j]}: {matrix[i, j]} images, {shares[i, j]:.1%} of the true class'

    ends = ('true class', 'predicted class')
    return heat_map(shares, texts, title, names, names, ends, 'confusion matrix'), together


def reliability_chart(before: Bins, after: Bins | None, multi_label: bool) -> Markup:
    """How often scores are right: bars and a line as they are, and a line with the temperature."""
    edges = np.linspace(0, 1, len(before.count) + 1)
    names = (
        ('score of a label', 'share that has it') if multi_label else ('score of the best class', 'share that is right')
    )
    chart = Chart((0, 1), (0, 1), *names, 'reliability diagram')
    titles = [
        f'{count} decisions with scores of {mean:.3f} on average, {right:.1%} of them true'
        for count, mean, right in zip(before.count, before.confidence, before.accuracy)
    ]
    chart.bars(edges[:-1], edges[1:], before.accuracy, titles)
    chart.line([0, 1], [0, 1], 9, 'perfect', dashed=True)
    chart.line(*_there(before), 0, 'as it is')
    if after is not None:
        chart.line(*_there(after), 1, 'with the temperature, cross-fitted')
    return chart.render()


def _there(bins: Bins) -> tuple[np.ndarray, np.ndarray]:
    some = bins.count > 0
    return bins.confidence[some], bins.accuracy[some]


def count_chart(bins: Bins) -> Markup:
    edges = np.linspace(0, 1, len(bins.count) + 1)
    chart = Chart(
        (0, 1), (0, bins.count.max()), 'score', 'decisions', 'how many decisions have which score', height=180
    )
    chart.bars(edges[:-1], edges[1:], bins.count, [f'{count} decisions' for count in bins.count])
    return chart.render()


def roc_chart(curves: Sequence[Curve]) -> Markup:
    chart = Chart((0, 1), (0, 1), 'false positive rate', 'true positive rate', 'ROC curves', height=340)
    chart.line([0, 1], [0, 1], 9, 'chance', dashed=True)
    for number, curve in enumerate(curves):
        chart.line(*curve.roc, number, f'{shorten(curve.name)} ({curve.auroc:.1f})')
    return chart.render()


def precision_recall_chart(curves: Sequence[Curve]) -> Markup:
    chart = Chart((0, 1), (0, 1), 'recall', 'precision', 'precision-recall curves', height=340)
    for number, curve in enumerate(curves):
        chart.line(*curve.pr, number, f'{shorten(curve.name)} ({curve.average_precision:.1f})')
    return chart.render()


def training_charts(curves: dict[str, TrainingCurve], unit: str) -> list[tuple[str, Markup]]:
    """Titles and charts of losses, of metrics in groups of one unit, and of the learning rate."""
    groups: dict[str, list[str]] = {}
    for name in curves:
        first, _, last = name.partition('/')
        if name in NOT_CURVES or name in ('momentum', 'base_lr'):
            continue
        kind = 'loss' if (last or first).startswith('loss') else 'learning rate' if first == 'lr' else first
        groups.setdefault(kind, []).append(name)
    charts = []
    for kind, names in groups.items():
        names = names[:10]  # of a metric per class the first are means
        values = np.concatenate([_finite(curves[name][1]) for name in names])
        if not len(values):
            continue
        log = kind == 'learning rate' and values.min() > 0 and values.max() > 5 * values.min()
        longest = max(curves[name][0][-1] for name in names)
        low = values.min() if log else min(values.min(), 0) if kind in ('loss', 'learning rate') else values.min()
        chart = Chart((0, longest), (low, values.max()), unit, kind, f'{kind} in training', log=log, height=240)
        for number, name in enumerate(names):
            chart.line(*_thin(*curves[name]), number, name)
        charts.append((kind, chart.render()))
    return charts


def _finite(values: Sequence[float]) -> np.ndarray:
    values = np.asarray(values, float)
    return values[np.isfinite(values)]


def _thin(x: Sequence[float], y: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Means of so many neighbouring points that few are left."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    step = -(-len(x) // MOST_POINTS)
    if step == 1:
        return x, y
    starts = np.arange(0, len(x), step)
    counts = np.diff(np.append(starts, len(x)))
    return np.add.reduceat(x, starts) / counts, np.add.reduceat(y, starts) / counts


def class_count_chart(counts: np.ndarray, classes: Sequence[str], kind: str = 'class') -> Markup:
    """Images of each class or label, in their order."""
    at = np.arange(len(counts))
    names = classes if len(classes) <= MOST_NUMBERS else ()
    ends = (-0.5, len(counts) - 0.5), (0, max(counts.max(), 1))
    chart = Chart(*ends, kind, 'images', f'images of each {kind}', height=180, names=names)
    chart.bars(at - 0.5, at + 0.5, counts, [f'{name}: {count} images' for name, count in zip(classes, counts)])
    return chart.render()
