"""Training curves from the scalars that mmengine's LocalVisBackend writes."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from mmengine.hooks import CheckpointHook

from .figures import COLOURS, MARKERS, STYLES, new_figure, save_figure, scale_rates, whole_numbers

#: name of the picture in the work directory
PICTURE = 'training_curves.png'

#: x and values
Curve = tuple[Sequence[float], Sequence[float]]

#: neither losses nor metrics
SETTINGS = ('lr', 'base_lr', 'momentum', 'grad_norm')
#: the loss of an evaluator that reports one, beside that of training
VALIDATION_LOSS = 'validation loss'
#: entries of the log that are not drawn
NOT_CURVES = {'step', 'epoch', 'iter', 'time', 'data_time', 'memory'}


def read_scalars(work_dir: str | Path) -> tuple[dict[str, Curve], str]:
    """Curves of all runs in a work directory, resumed ones joined: name to (x, values); and what x is, 'epoch' or
    'iteration'.

    The names are those of the log: 'loss', 'lr', 'accuracy/top1' and so on. Where a resumed run repeats a step, the
    later value counts. Lines that a killed run left incomplete are skipped.
    """
    points: dict[str, dict[float, float]] = {}
    files = sorted(Path(work_dir).glob('*/vis_data/scalars.json'))
    runs = [[record for record in map(_parse, file.read_text().splitlines()) if record] for file in files]
    bounds = [_epoch_length(records) for records in runs]
    longest = max((low for low, _ in bounds), default=0)
    for records, (low, high) in zip(runs, bounds):
        # a run that stopped inside its first epoch does not show the epoch's length; other runs do
        length = (longest if longest <= high else low) or 1
        x = 0.0
        for record in records:
            if _is_training(record):
                x = record['step'] / length
            elif low:  # validation, which counts epochs
                x = record['step']
            else:  # iterations, as training does; in files of older runs 0
                x = max(x, record['step'])
            for name, value in record.items():
                if name == 'loss' and not _is_training(record):
                    name = VALIDATION_LOSS
                if name not in NOT_CURVES and isinstance(value, (int, float)):
                    points.setdefault(name, {})[x] = value
    return {name: (sorted(curve), [curve[x] for x in sorted(curve)]) for name, curve in points.items()}, (
        'epoch' if longest else 'iteration'
    )


def _epoch_length(records: list[dict]) -> tuple[float, float]:
    """Bounds of the iterations of an epoch, from these records; (0, inf) without epochs."""
    steps = [(record['step'], record['epoch']) for record in records if _is_training(record) and record.get('epoch')]
    low = max((step / epoch for step, epoch in steps), default=0)
    return low, min(((step - 1) / (epoch - 1) for step, epoch in steps if epoch > 1), default=float('inf'))


def _is_training(record: dict) -> bool:
    """Whether a record is of training; a validation's evaluator may report a loss too."""
    return 'loss' in record and not record.keys().isdisjoint(('iter', 'epoch', 'lr'))


def is_loss(name: str) -> bool:
    return 'loss' in name.rpartition('/')[2]


def best_point(curves: dict[str, Curve]) -> tuple[str, float, float] | None:
    """Name, x and value of the best validation, by the first metric whose direction mmengine knows.

    >>> best_point({'loss': ([1, 2], [3, 2]), 'accuracy/top1': ([1, 2, 3], [50.0, 60.0, 60.0])})
    ('accuracy/top1', 2, 60.0)
    """
    for name, (x, y) in curves.items():
        values = np.asarray(y, dtype=float)
        if name in SETTINGS or (is_loss(name) and name != VALIDATION_LOSS) or not np.isfinite(values).any():
            continue
        if any(key.lower() in name.lower() for key in CheckpointHook._default_greater_keys):
            place = int(np.nanargmax(values))
        elif name == VALIDATION_LOSS:
            place = int(np.nanargmin(values))
        else:
            continue
        return name, x[place], y[place]
    return None


def _parse(line: str) -> dict | None:
    try:
        record = json.loads(line)
    except json.JSONDecodeError:
        return None
    return record if isinstance(record, dict) and 'step' in record else None


def plot_curves(curves: dict[str, Curve], file: str | Path, title: str = '', unit: str = 'epoch') -> None:
    """Draw losses, validation metrics and the learning rate side by side and write them as a picture."""
    losses = [name for name in curves if is_loss(name)]
    rates = [name for name in curves if name in ('lr', 'base_lr')][:1]
    metrics = [name for name in curves if name not in losses and name not in SETTINGS]
    panels = {'loss': losses, 'validation': metrics, 'learning rate': rates}
    panels = {label: names for label, names in panels.items() if names}
    figure = new_figure(5 * max(1, len(panels)), 4, title)
    best = best_point(curves)
    for i, (label, names) in enumerate(panels.items(), 1):
        axes = figure.add_subplot(1, len(panels), i, title=label)
        draw_curves(axes, {name: curves[name] for name in names}, unit, rates=names is rates)
        if best and names is not rates:
            mark_best(axes, best, unit)
        axes.legend(fontsize='small')
    save_figure(figure, file)


def draw_curves(
    axes: Axes, curves: dict[str, Curve], unit: str, label: str = '', rates: bool = False, looks: Sequence[str] = ()
) -> dict[str, Line2D]:
    """Draw the curves of one panel; those of more than 200 points pale, with their running mean over 2% on top.

    Args:
        label: of the y axis.
        rates: the values are learning rates or other settings: not smoothed, on a logarithmic axis if they span much.
        looks: all names that the figure's panels have, in the order of their colours and markers; by default those of
            ``curves``.

    Returns:
        The lines by name, for a legend.
    """
    lines = {}
    for name, (x, y) in curves.items():
        number = list(looks or curves).index(name)
        colour = COLOURS[number % len(COLOURS)]
        style = STYLES[(number // len(COLOURS)) % len(STYLES)]
        marker = MARKERS[number % len(MARKERS)] if len(x) <= 60 else None
        if len(x) > 200 and not rates:
            axes.plot(x, y, color=colour, alpha=0.2, linewidth=0.7)
            y = smooth(y, len(x) // 50)
        [lines[name]] = axes.plot(
            x, y, color=colour, linestyle=style, marker=marker, markersize=4, linewidth=1.2, label=name
        )
    if rates:
        scale_rates(axes, np.concatenate([y for _, y in curves.values()]))
    whole_numbers(axes)
    axes.set(xlabel=unit, ylabel=label)
    axes.grid(alpha=0.3)
    return lines


def mark_best(axes: Axes, best: tuple[str, float, float], unit: str) -> None:
    """Draw a line at :func:`best_point`, with its value in the legend."""
    name, x, y = best
    axes.axvline(x, color='grey', linestyle=':', linewidth=1, label=f'best {name}: {unit} {x:g}, {y:.4g}', zorder=0)


def smooth(values: Sequence[float], width: int) -> np.ndarray:
    """The mean over ``width`` neighbours, fewer at the ends.

    >>> smooth([1, 2, 6], 3).tolist()
    [1.5, 3.0, 4.0]
    """
    kernel = np.ones(width)
    values = np.asarray(values, dtype=float)
    return np.convolve(values, kernel, 'same') / np.convolve(np.ones(len(values)), kernel, 'same')
