"""The charts of the report, as SVG in the colours of the page."""

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mmdensenet.analysis.confusion import confusion_figure
from mmdensenet.results.calibration import Bins
from mmdensenet.results.figures import COLOURS, label_ticks, new_figure, shorten, whole_numbers
from mmdensenet.results.inline_svg import inline_svg
from mmdensenet.results.net_benefit import DecisionCurve
from mmdensenet.results.score_curves import ScoreCurve
from mmdensenet.results.training_curves import NOT_CURVES, Curve, best_point, draw_curves, is_loss, mark_best

#: with more classes, bars have no names; with more, neighbouring classes share a row of the confusion matrix
MOST_NAMES, MOST_CELLS = 20, 50
MOST_POINTS = 400
#: inches
WIDTH = 5.4


def confusion_chart(matrix: np.ndarray, classes: Sequence[str]) -> tuple[Markup, int]:
    """The shares of each true class, and the number of neighbouring classes in a row."""
    together = -(-len(matrix) // MOST_CELLS)
    names = list(classes)
    if together > 1:
        starts = np.arange(0, len(matrix), together)
        matrix = np.add.reduceat(np.add.reduceat(matrix, starts, 0), starts, 1)
        names = [f'{start} to {min(start + together, len(classes)) - 1}' for start in starts]
    sums = matrix.sum(1, keepdims=True)
    shares = np.divide(matrix, sums, out=np.zeros(matrix.shape), where=sums > 0)
    titles = [
        f'true {names[i]}, predicted {names[j]}: {count} images, {shares[i, j]:.1%} of the true class'
        for (i, j), count in np.ndenumerate(matrix)
    ]
    figure = confusion_figure(matrix, names, as_shapes=True)
    return Markup(inline_svg(figure, 'confusion matrix', {'cells': titles})), together


def reliability_chart(
    before: Bins, after: Bins | None, multi_label: bool, temperature: str = 'with the temperature, cross-fitted'
) -> Markup:
    """Accuracy against score: bars and a line without temperature, and a line with it, by the name ``temperature``."""
    names = (
        ('score of a label', 'share that has it') if multi_label else ('score of the best class', 'share that is right')
    )
    figure, axes = _unit_square(*names)
    axes.plot([0, 1], [0, 1], '--', color='grey', linewidth=1, label='perfect')
    titles = [
        f'{count} decisions with scores of {mean:.3f} on average, {right:.1%} of them true'
        for count, mean, right in zip(before.count, before.confidence, before.accuracy)
    ]
    titles_by_id = _bars(axes, np.linspace(0, 1, len(titles) + 1), before.accuracy, titles)
    axes.plot(*_filled(before), '.-', color=COLOURS[0], label='as it is')
    if after is not None:
        axes.plot(*_filled(after), '.-', color=COLOURS[1], label=temperature)
    return _render(figure, 'reliability diagram', titles_by_id)


def _filled(bins: Bins) -> tuple[np.ndarray, np.ndarray]:
    filled = bins.count > 0
    return bins.confidence[filled], bins.accuracy[filled]


def count_chart(bins: Bins) -> Markup:
    figure = new_figure(WIDTH, 2.4)
    axes = figure.add_subplot(xlabel='score', ylabel='decisions', xlim=(0, 1))
    edges = np.linspace(0, 1, len(bins.count) + 1)
    titles_by_id = _bars(axes, edges, bins.count, [f'{count} decisions' for count in bins.count])
    return _render(figure, 'how many decisions have which score', titles_by_id)


def roc_chart(curves: Sequence[ScoreCurve]) -> Markup:
    figure, axes = _unit_square('false positive rate', 'true positive rate')
    axes.plot([0, 1], [0, 1], '--', color='grey', linewidth=1, label='chance')
    _lines(axes, [(curve.name, curve.roc, curve.auroc) for curve in curves])
    return _render(figure, 'ROC curves')


def precision_recall_chart(curves: Sequence[ScoreCurve]) -> Markup:
    figure, axes = _unit_square('recall', 'precision')
    _lines(axes, [(curve.name, curve.pr, curve.average_precision) for curve in curves])
    return _render(figure, 'precision-recall curves')


def training_charts(curves: dict[str, Curve], unit: str) -> list[tuple[str, Markup]]:
    """(title, chart) of losses, of metrics in groups of one unit, and of the learning rate, in this order."""
    groups: dict[str, dict[str, Curve]] = {}
    for name, curve in curves.items():
        first = name.partition('/')[0]
        if name in NOT_CURVES or name in ('momentum', 'base_lr') or not np.isfinite(curve[1]).any():
            continue
        kind = 'loss' if is_loss(name) else 'learning rate' if first == 'lr' else first
        groups.setdefault(kind, {})[name] = _thin(*curve)
    charts, best = [], best_point(curves)
    order = ('loss', *(kind for kind in groups if kind not in ('loss', 'learning rate')), 'learning rate')
    for kind, group in ((kind, groups[kind]) for kind in order if kind in groups):
        figure = new_figure(WIDTH, 3.2)
        group = dict(list(group.items())[:10])  # of a metric per class the first are means
        axes = figure.add_subplot()
        draw_curves(axes, group, unit, kind, rates=kind == 'learning rate')
        if best and kind != 'learning rate':
            mark_best(axes, best, unit)
        charts.append((kind, _render(figure, f'{kind} in training')))
    return charts


def _thin(x: Sequence[float], y: Sequence[float]) -> Curve:
    """Means of neighbouring points, at most :data:`MOST_POINTS` of them."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    starts = np.arange(0, len(x), -(-len(x) // MOST_POINTS))
    counts = np.diff(np.append(starts, len(x)))
    return np.add.reduceat(x, starts) / counts, np.add.reduceat(y, starts) / counts


def class_count_chart(counts: np.ndarray, classes: Sequence[str], kind: str = 'class') -> Markup:
    """The number of images of each class or label, in order."""
    names = [shorten(name) for name in classes] if len(classes) <= MOST_NAMES else ()
    figure = new_figure(WIDTH, 2.4 + 0.05 * max(map(len, names), default=0))
    axes = figure.add_subplot(xlabel=kind, ylabel='images', xlim=(-0.5, len(counts) - 0.5))
    if names:
        label_ticks(axes.xaxis, names, MOST_NAMES, 45)
    else:
        whole_numbers(axes)
    titles = [f'{name}: {count} images' for name, count in zip(classes, counts)]
    return _render(figure, f'images of each {kind}', _bars(axes, np.arange(len(counts) + 1) - 0.5, counts, titles))


def net_benefit_chart(curve: DecisionCurve) -> Markup:
    """The net benefit of the model, of acting on every image and of acting on none."""
    top = max(*curve.model, *curve.everyone, 0.01)
    figure = new_figure(WIDTH, 3.2)
    axes = figure.add_subplot(
        xlabel='probability from which on one acts', ylabel='net benefit', xlim=(0, 1), ylim=(-0.25 * top, 1.1 * top)
    )
    axes.plot(curve.thresholds, curve.model, color=COLOURS[0], label='the model')
    axes.plot(curve.thresholds, curve.everyone, '--', color=COLOURS[1], label='every image')
    axes.plot([0, 1], [0, 0], ':', color='grey', label='none')
    return _render(figure, 'decision curve')


def _unit_square(xlabel: str, ylabel: str) -> tuple[Figure, Axes]:
    figure = new_figure(WIDTH, 3.9)
    return figure, figure.add_subplot(xlabel=xlabel, ylabel=ylabel, xlim=(0, 1), ylim=(0, 1.02))


def _lines(axes: Axes, curves: Sequence[tuple[str, Curve, float]]) -> None:
    for number, (name, points, area) in enumerate(curves):
        style = '-' if number < len(COLOURS) else '--'
        # the first curve, of all classes, is drawn above the thin ones of single classes
        width, above = (2, 3) if number == 0 else (0.8, 2)
        look = dict(color=COLOURS[number % len(COLOURS)], linestyle=style, linewidth=width, zorder=above)
        axes.plot(*points, **look, label=f'{shorten(name)} ({area:.1f})')


def _bars(axes: Axes, edges: np.ndarray, tops: np.ndarray, titles: Sequence[str]) -> dict[str, str]:
    """Draw bars between neighbouring edges. Returns the titles of those that are drawn, by ``gid``."""
    titles_by_id = {}
    for i, top in enumerate(tops):
        if np.isfinite(top):
            width = edges[i + 1] - edges[i]
            axes.bar(edges[i], top, width, align='edge', color=COLOURS[0], alpha=0.45, gid=f'bar{i}')
            titles_by_id[f'bar{i}'] = titles[i]
    return titles_by_id


def _render(figure: Figure, label: str, titles: dict[str, str] | None = None) -> Markup:
    [axes] = figure.axes
    axes.grid(alpha=0.3)
    axes.xaxis.labelpad = axes.yaxis.labelpad = 8
    axes.spines[['top', 'right']].set_visible(False)
    if lines := axes.get_legend_handles_labels()[0]:
        figure.set_figheight(figure.get_figheight() + 0.16 * -(-len(lines) // 2))
        figure.legend(loc='outside lower center', ncols=2, fontsize='small', frameon=False)
    return Markup(inline_svg(figure, label, titles))
