"""Charts as inline SVG whose colours are the page's, so that they can be read on light and on dark ground."""

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from matplotlib.ticker import LogLocator, MaxNLocator

#: colours that the page's style sheet defines as .s0 .. for lines and .f0 .. for areas
SERIES = 10
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 12, 42


class Chart:
    """Axes to which lines, bars and text are added; :meth:`render` gives the SVG.

    Args:
        x, y: what the axes reach from and to.
        label: what the chart shows, for those who cannot see it.
        log: the y axis is logarithmic.
        names: of the places 0, 1, ... of the x axis, in the place of numbers; the chart is as much higher.
    """

    def __init__(
        self,
        x: tuple[float, float],
        y: tuple[float, float],
        xlabel: str,
        ylabel: str,
        label: str,
        width: int = 420,
        height: int = 300,
        log: bool = False,
        names: Sequence[str] = (),
    ):
        self.x, self.y = _widened(x), _widened(y)
        self.label, self.width, self.log, self.names = label, width, log, names
        self.bottom = BOTTOM + (_slanted_height(names) - 10 if names else 0)
        self.height = height + self.bottom - BOTTOM
        self.parts: list[Markup] = []
        self.legend: list[tuple[str, str]] = []
        self._axes(xlabel, ylabel)

    def line(
        self, x: Sequence[float], y: Sequence[float], series: int = 0, name: str = '', dashed: bool = False
    ) -> None:
        style = f's{series % SERIES}' + (' dash' if dashed or series >= SERIES else '')
        places = [(a, b) for a, b in zip(self._px(x), self._py(y)) if np.isfinite(b)]
        points = ' '.join(f'{a:.1f},{b:.1f}' for a, b in places)
        if len(places) == 1:  # a line of one point cannot be seen
            self.parts.append(_tag('circle', '', f'line {style}', cx=places[0][0], cy=places[0][1], r=2.0))
        self.parts.append(_tag('polyline', _tag('title', name) if name else '', f'line {style}', points=points))
        if name:
            self.legend.append((style, name))

    def bars(
        self,
        starts: Sequence[float],
        ends: Sequence[float],
        tops: Sequence[float],
        titles: Sequence[str],
        series: int = 0,
    ) -> None:
        floor = self._py([self.y[0]])[0]
        for left, right, top, title in zip(self._px(starts), self._px(ends), self._py(tops), titles):
            if np.isfinite(top):
                box = _box(left + 0.5, top, max(right - left - 1, 0.5), max(floor - top, 0))
                self.parts.append(_tag('rect', _tag('title', title), f'f{series % SERIES}', **box))

    def render(self) -> Markup:
        keys = []
        for style, name in self.legend:
            stroke = _tag('line', '', f'line {style}', x1=0, y1=4, x2=18, y2=4)
            keys.append(_tag('span', _tag('svg', stroke, width=18, height=8) + name, 'key'))
        legend = Markup('').join(keys)
        return Markup(
            '<figure class="chart"><svg viewBox="0 0 {w} {h}" role="img" aria-label="{label}">{parts}</svg>'
            '<figcaption>{legend}</figcaption></figure>'
        ).format(w=self.width, h=self.height, label=self.label, parts=Markup('').join(self.parts), legend=legend)

    def _px(self, values: Sequence[float]) -> np.ndarray:
        low, high = self.x
        return LEFT + (np.asarray(values, float) - low) / (high - low) * (self.width - LEFT - RIGHT)

    def _py(self, values: Sequence[float]) -> np.ndarray:
        low, high = self.y
        values = np.asarray(values, float)
        if self.log:
            low, high = np.log10([low, high])
            values = np.log10(np.maximum(values, self.y[0]))
        return self.height - self.bottom - (values - low) / (high - low) * (self.height - TOP - self.bottom)

    def _axes(self, xlabel: str, ylabel: str) -> None:
        right, bottom = self.width - RIGHT, self.height - self.bottom
        within = self.log and self.y[1] < 100 * self.y[0]  # there may be one power of ten in it, or none
        locator = LogLocator(subs=(1, 2, 5) if within else (1,), numticks=6) if self.log else MaxNLocator(5)
        for i, name in enumerate(self.names):
            self.parts.append(_slanted(name, self._px([i])[0] + 4, bottom + 8))
        for value in () if self.names else _inside(MaxNLocator(6, min_n_ticks=3).tick_values(*self.x), self.x):
            at = self._px([value])[0]
            self._text(at, bottom + 16, f'{value:g}', 'middle')
            self.parts.append(_tag('path', '', 'grid', d=f'M{at:.1f} {TOP}V{bottom}'))
        for value in _inside(locator.tick_values(*self.y), self.y):
            at = self._py([value])[0]
            self._text(LEFT - 6, at + 4, f'{value:g}', 'end')
            self.parts.append(_tag('path', '', 'grid', d=f'M{LEFT} {at:.1f}H{right}'))
        self.parts.append(_tag('path', '', 'axis', d=f'M{LEFT} {TOP}V{bottom}H{right}'))
        self._text((LEFT + right) / 2, self.height - 6, xlabel, 'middle')
        middle = (TOP + bottom) / 2
        self._text(12, middle, ylabel, 'middle', transform=f'rotate(-90 12 {middle:.1f})')

    def _text(self, x: float, y: float, text: str, anchor: str, **more) -> None:
        self.parts.append(_tag('text', text, x=x, y=y, text_anchor=anchor, **more))


def heat_map(
    shares: np.ndarray,
    texts: Sequence[Sequence[str]] | None,
    titles,
    rows: Sequence[str],
    columns: Sequence[str],
    axes: tuple[str, str],
    label: str,
) -> Markup:
    """A table of cells, each as dark as its share is large.

    Args:
        shares: (R, C) from 0 to 1; nan is left empty.
        texts: what is written into the cells; None writes nothing.
        titles: a function of row and column to what a cell tells when it is pointed at.
        rows, columns: names; where cells are small only some are written.
        axes: what rows and columns are.
    """
    high, wide = shares.shape
    cell = 40 if texts is not None else max(4, min(22, 640 // max(high, wide)))
    gap = 26 + 7 * min(22, max(len(str(name)) for name in rows))
    parts = []
    for i, j in zip(*np.nonzero(np.nan_to_num(shares) > 0)):
        box = _box(gap + j * cell, i * cell, cell - 1, cell - 1)
        opacity = f'{0.06 + 0.6 * shares[i, j]:.3f}'
        parts.append(_tag('rect', _tag('title', titles(i, j)), 'heat', fill_opacity=opacity, **box))
    if texts is not None:
        for i, j in np.ndindex(high, wide):
            if texts[i][j]:
                x, y = gap + (j + 0.5) * cell, (i + 0.5) * cell + 4
                parts.append(_tag('text', texts[i][j], 'cell', x=x, y=y, text_anchor='middle'))
    every = -(-14 // cell)  # as many names as do not overlap
    for i in range(0, high, every):
        parts.append(_tag('text', shorten(rows[i]), x=gap - 6, y=(i + 0.5) * cell + 4, text_anchor='end'))
    for j in range(0, wide, every):
        parts.append(_slanted(columns[j], gap + (j + 0.5) * cell + 4, high * cell + 8))
    width, height = gap + wide * cell + 4, high * cell + 34 + _slanted_height(columns)
    middle = high * cell / 2
    parts.append(_tag('text', axes[0], x=12, y=middle, text_anchor='middle', transform=f'rotate(-90 12 {middle:.1f})'))
    parts.append(_tag('text', axes[1], x=gap + wide * cell / 2, y=height - 6, text_anchor='middle'))
    return Markup(
        '<figure class="chart"><svg viewBox="0 0 {w} {h}" style="max-width:{w}px" role="img" aria-label="{label}">'
        '{parts}</svg></figure>'
    ).format(w=width, h=height, label=label, parts=Markup('').join(parts))


def _widened(ends: tuple[float, float]) -> tuple[float, float]:
    low, high = float(ends[0]), float(ends[1])
    return (low, high) if high > low else (low, low + (abs(low) or 1))


def _inside(values: Sequence[float], ends: tuple[float, float]) -> list[float]:
    slack = 1e-9 * (ends[1] - ends[0])
    return [float(value) for value in values if ends[0] - slack <= value <= ends[1] + slack]


def _box(x: float, y: float, width: float, height: float) -> dict[str, float]:
    return dict(x=x, y=y, width=width, height=height)


def _tag(tag: str, content: str, css: str = '', **attributes) -> Markup:
    """An element; everything that is no Markup is escaped, numbers get one decimal, ``text_anchor`` is text-anchor."""
    given = {'class': css, **attributes} if css else attributes
    text = Markup('').join(
        Markup(' {}="{}"').format(name.replace('_', '-'), f'{value:.1f}' if isinstance(value, float) else value)
        for name, value in given.items()
    )
    return Markup('<{0}{1}>{2}</{0}>').format(tag, text, content)


def _slanted(name: str, x: float, y: float) -> Markup:
    return _tag('text', shorten(name), x=x, y=y, text_anchor='end', transform=f'rotate(-50 {x:.1f} {y:.1f})')


def _slanted_height(names: Sequence[str]) -> int:
    return int(5.5 * max((len(shorten(name)) for name in names), default=0))


def shorten(name: str, length: int = 22) -> str:
    text = str(name)
    return text if len(text) <= length else f'{text[: length - 1]}\N{HORIZONTAL ELLIPSIS}'
