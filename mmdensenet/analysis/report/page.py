"""Renders the page, one self-contained HTML file."""

import math
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from mmdensenet.results.bootstrap import Estimate


def render(**content) -> str:
    """The HTML. Every text of ``content`` is escaped; charts are Markup."""
    environment = Environment(
        loader=PackageLoader('mmdensenet.analysis.report', ''),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= dict(number=number, interval=interval, seconds=seconds, size=size)
    style = Markup(Path(__file__).with_name('page.css').read_text(encoding='utf-8'))
    return environment.get_template('page.html.j2').render(style=style, **content)


def number(value: float | None, digits: int = 2) -> str:
    return '\N{EN DASH}' if value is None or math.isnan(value) else f'{value:,.{digits}f}'


def interval(estimate: Estimate, digits: int = 2) -> str:
    """'12.30 to 14.50', or an empty text."""
    if math.isnan(estimate.low):
        return ''
    return f'{number(estimate.low, digits)} to {number(estimate.high, digits)}'


def seconds(value: float) -> str:
    return f'{1000 * value:,.1f} ms' if value < 1 else f'{value:,.2f} s'


def size(value: float | None) -> str:
    """A number of bytes with a unit.

    >>> size(0), size(300), size(2048), size(3.5 * 2**20), size(2**31)
    ('0', '300 B', '2.0 KiB', '3.5 MiB', '2.0 GiB')
    """
    if value is None:
        return '\N{EN DASH}'
    power = next((p for p in (3, 2, 1) if value >= 1000 * 1024 ** (p - 1)), 0)
    if power == 0:
        return f'{value:.0f} B' if value else '0'
    return f'{value / 1024**power:,.1f} {("KiB", "MiB", "GiB")[power - 1]}'
