"""Figures without pyplot's global state, in colours for every kind of colour vision."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mmdensenet.errors import UserError
from mmdensenet.output import output_file

#: Petroff's ten colours, chosen to differ for every kind of colour vision (arXiv:2107.02270)
COLOURS = (
    *('#3f90da', '#ffa90e', '#bd1f01', '#94a4a2', '#832db6'),
    *('#a96b59', '#e76300', '#b9ac70', '#717581', '#92dadd'),
)
#: their number is coprime to that of the colours, so that both together distinguish 70 classes
MARKERS = ('o', '^', 's', 'D', 'v', 'P', 'X')
STYLES = ('-', '--', '-.', ':')
#: colour maps for quantities, and for shares, where 0 is white
SEQUENTIAL, SHARES = 'viridis', 'Blues'

DPI = 100


def new_figure(width: float, height: float, title: str = '') -> Figure:
    """A figure of this size in inches, whose parts do not overlap."""
    figure = Figure(figsize=(width, height), dpi=DPI, layout='constrained')
    FigureCanvasAgg(figure)
    if title:
        figure.suptitle('\n'.join(textwrap.wrap(title, max(30, int(width * 13)))), fontsize='medium')
    return figure


def picture_file(file: str | Path) -> Path:
    """:func:`output_file` for the file of a picture."""
    return output_file(file, ('.png', '.svg', '.pdf'))


def save_figure(figure: Figure, file: str | Path) -> Path:
    """Write a figure as PNG (or as .svg or .pdf) and return the path.

    Raises:
        UserError: for another suffix, or if the file cannot be written.
    """
    path = picture_file(file)
    figure.savefig(path, dpi=DPI)
    return path


def shorten(name: str, length: int = 24) -> str:
    """A class name that fits beside a picture; of ImageNet's synonyms it keeps the first.

    >>> shorten('tench, Tinca tinca'), shorten('hippopotamus', 6)
    ('tench', 'hippo…')
    """
    name = str(name).split(',')[0]
    return name if len(name) <= length else name[: length - 1] + '…'


def label_ticks(axis, names: Sequence[str], most: int, rotation: float = 0) -> None:
    """Name the positions 0, 1, ... of an axis, at most ``most`` of them at equal steps."""
    step = -(-len(names) // most)
    positions = range(0, len(names), step)
    options = dict(rotation=rotation, ha='right', rotation_mode='anchor') if rotation else {}
    axis.set_ticks(positions, [names[i] for i in positions], fontsize='small', **options)


def scale_rates(axes: Axes, values: np.ndarray) -> None:
    """Use a logarithmic axis for learning rates that span 50 to 100,000 times, as those that fall in steps."""
    if values.min() > 0 and 50 < values.max() / values.min() < 1e5:
        axes.set_yscale('log')


def whole_numbers(axes: Axes) -> None:
    """Use whole numbers as ticks along x, for epochs or iterations."""
    axes.xaxis.set_major_locator(MaxNLocator('auto', integer=True))


def contrasting(axes: Axes, image, values: np.ndarray, texts: Sequence[Sequence[str]], fontsize: float) -> None:
    """Write a text into each cell of a matrix drawn by ``imshow``, light on dark and dark on light."""
    colours = image.to_rgba(values)
    brightness = colours[..., :3] @ np.array([0.299, 0.587, 0.114])
    for (row, column), bright in np.ndenumerate(brightness):
        axes.text(
            column,
            row,
            texts[row][column],
            ha='center',
            va='center',
            fontsize=fontsize,
            color='#111111' if bright > 0.5 else 'white',
        )


def picture_grid(
    pictures: Sequence[Sequence[np.ndarray]],
    titles: Sequence[Sequence[str]],
    title: str = '',
    cell: float = 1.9,
) -> Figure:
    """Rows of pictures, (H, W, 3) uint8, each below its title; pixels of small pictures stay visible.

    Args:
        cell: width of a picture, in inches.

    Raises:
        UserError: for more than 40 columns or 100 rows.
    """
    columns = max(len(row) for row in pictures)
    if columns > 40 or len(pictures) > 100:
        raise UserError(
            f'{columns} pictures beside and {len(pictures)} below each other do not fit: draw at most 40 and 100.'
        )
    letters = int(cell * 12)
    wrapped = [['\n'.join(textwrap.wrap(text, letters)[:3]) for text in row] for row in titles]
    heights = []
    for row, texts in zip(pictures, wrapped):
        lines = max((text.count('\n') + 1 for text in texts if text), default=0)
        ratio = max(picture.shape[0] / picture.shape[1] for picture in row)
        heights.append(cell * min(ratio, 2) + 0.2 * lines + 0.1)
    figure = new_figure(cell * columns + 0.2, sum(heights) + (0.5 if title else 0.1), title)
    grid = figure.add_gridspec(len(pictures), columns, height_ratios=heights)
    for i, row in enumerate(pictures):
        for j, picture in enumerate(row):
            axes = figure.add_subplot(grid[i, j])
            small = max(picture.shape[:2]) < cell * DPI
            axes.imshow(picture, interpolation='nearest' if small else 'antialiased')
            axes.set_title(wrapped[i][j], fontsize=8)
            axes.set_axis_off()
    return figure
