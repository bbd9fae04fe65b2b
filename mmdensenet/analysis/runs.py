"""Compares the training curves of several runs."""

import fnmatch
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from mmdensenet.errors import UserError
from mmdensenet.results.figures import new_figure
from mmdensenet.results.training_curves import SETTINGS, Curve, draw_curves, read_scalars
from mmdensenet.similar import similar_path


def read_runs(work_dirs: Sequence[str | Path], names: Sequence[str] | None = None) -> tuple[dict, str]:
    """The curves of each work directory (:func:`mmdensenet.results.training_curves.read_scalars`).

    Args:
        work_dirs: of the runs.
        names: of the runs; by default the shortest ends of the folders' paths that differ.

    Returns:
        The (x, values) of each curve of each run by their names, and the unit of x, 'epoch' or 'iteration'.

    Raises:
        UserError: for a folder without curves, and for runs that count epochs beside runs that count iterations.
    """
    if names is not None and len(names) != len(work_dirs):
        raise UserError(f'there are {len(names)} names for {len(work_dirs)} runs.')
    runs: dict[str, dict[str, Curve]] = {}
    units: dict[str, str] = {}
    for name, folder in zip(names or _short_names(work_dirs), work_dirs):
        if not Path(folder).is_dir():
            raise UserError(f'{folder} is not a folder: name the work directory of a run.{similar_path(folder)}')
        curves, unit = read_scalars(folder)
        if not curves:
            raise UserError(f'{folder} has no curves: there is nothing in {folder}/*/vis_data/scalars.json.')
        if name in runs:
            raise UserError(f'two runs have the name {name!r}.')
        runs[name], units[name] = curves, unit
    if len(set(units.values())) > 1:
        parts = ', '.join(f'{name} {unit}s' for name, unit in units.items())
        raise UserError(f'the runs do not share an axis ({parts}): draw them apart.')
    return runs, next(iter(units.values()))


def curves_figure(
    runs: dict[str, dict[str, Curve]], unit: str = 'epoch', metrics: Sequence[str] | None = None
) -> Figure:
    """A panel for each loss and metric, with all runs in it.

    Args:
        metrics: patterns of the curves to draw, such as 'loss', ``'accuracy/*'`` or 'lr'. None draws all but settings
            such as the learning rate.
    """
    names = list(dict.fromkeys(name for curves in runs.values() for name in curves))
    patterns = metrics if metrics is not None else ['*']
    chosen = [name for name in names if any(fnmatch.fnmatch(name, pattern) for pattern in patterns)]
    if metrics is None:
        chosen = [name for name in chosen if name not in SETTINGS]
    if not chosen:
        raise UserError(f'no curve has a name like {", ".join(patterns)}; there are {", ".join(names)}.')
    columns = min(3, len(chosen))
    rows = -(-len(chosen) // columns)
    legend = 0.28 * -(-len(runs) // columns) + 0.2
    title = next(iter(runs)) if len(runs) == 1 else ''
    figure = new_figure(4.6 * columns + 0.4, 3.4 * rows + legend, title)
    handles: dict = {}
    for i, curve in enumerate(chosen):
        panel = {run: curves[curve] for run, curves in runs.items() if curve in curves}
        axes = figure.add_subplot(rows, columns, i + 1)
        handles |= draw_curves(axes, panel, unit, curve, rates=curve in SETTINGS, looks=list(runs))
    if len(runs) > 1:
        figure.legend(handles.values(), handles.keys(), loc='outside lower center', ncols=columns, fontsize='small')
    return figure


def _short_names(folders: Sequence[str | Path]) -> list[str]:
    paths = [Path(folder).resolve().parts for folder in folders]
    for length in range(1, max(map(len, paths)) + 1):
        names = [str(Path(*parts[-length:])) for parts in paths]
        if len(set(names)) == len(names):
            break
    return names
