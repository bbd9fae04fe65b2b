"""Training curves from the scalars that mmengine's LocalVisBackend writes."""

import json
from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

#: name of the picture in the work directory
PICTURE = 'training_curves.png'

Curve = tuple[list[float], list[float]]

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
        # a run that was stopped inside an epoch does not show how long that is; the other runs do
        length = (longest if longest <= high else low) or 1
        x = 0.0
        for record in records:
            if 'loss' in record:
                x = record['step'] / length
            elif low:  # validation, which counts epochs
                x = record['step']
            for name, value in record.items():
                if name not in NOT_CURVES and isinstance(value, (int, float)):
                    points.setdefault(name, {})[x] = value
    return {name: (sorted(curve), [curve[x] for x in sorted(curve)]) for name, curve in points.items()}, (
        'epoch' if longest else 'iteration'
    )


def _epoch_length(records: list[dict]) -> tuple[float, float]:
    """From which to which number of iterations an epoch may have by these records; (0, inf) if they have no epochs."""
    steps = [(record['step'], record['epoch']) for record in records if 'loss' in record and record.get('epoch')]
    low = max((step / epoch for step, epoch in steps), default=0)
    return low, min(((step - 1) / (epoch - 1) for step, epoch in steps if epoch > 1), default=float('inf'))


def _parse(line: str) -> dict | None:
    try:
        record = json.loads(line)
    except json.JSONDecodeError:
        return None
    return record if isinstance(record, dict) and 'step' in record else None


def plot_curves(curves: dict[str, Curve], file: str | Path, title: str = '', unit: str = 'epoch') -> None:
    """Draw losses, validation metrics and the learning rate side by side and write them as PNG."""
    losses = [name for name in curves if name.rpartition('/')[2].startswith('loss')]
    rates = [name for name in curves if name in ('lr', 'base_lr')][:1]
    metrics = [name for name in curves if name not in losses and name not in ('lr', 'base_lr', 'momentum', 'grad_norm')]
    panels: list[tuple[str, Sequence[str]]] = [
        ('training loss', losses),
        ('validation', metrics),
        ('learning rate', rates),
    ]
    panels = [panel for panel in panels if panel[1]]
    figure = Figure(figsize=(5 * max(1, len(panels)), 4), layout='constrained')
    FigureCanvasAgg(figure)
    for i, (label, names) in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), i + 1)
        for name in names:
            x, y = curves[name]
            axes.plot(x, y, label=name, marker='.' if len(x) < 60 else None, linewidth=1)
        axes.set(xlabel=unit, title=label)
        if label == 'learning rate' and min(curves[names[0]][1]) > 0:
            axes.set_yscale('log')
        axes.grid(alpha=0.3)
        axes.legend(fontsize='small')
    if title:
        figure.suptitle(title)
    figure.savefig(file, dpi=100)
