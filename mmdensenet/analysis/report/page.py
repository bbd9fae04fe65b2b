"""The page: everything into one file that needs nothing else."""

import math
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from mmdensenet.results.bootstrap import Estimate


def render(**content) -> str:
    """The HTML; every text of ``content`` is escaped, but for the charts, which are Markup."""
    environment = Environment(
        loader=PackageLoader('mmdensenet.analysis.report', ''),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= dict(number=number, interval=interval, whole=whole, seconds=seconds, mib=mib)
    style = Markup(Path(__file__).with_name('page.css').read_text(encoding='utf-8'))
    return environment.get_template('page.html.j2').render(style=style, **content)


def number(value: float | None, digits: int = 2) -> str:
    return '\N{EN DASH}' if value is None or math.isnan(value) else f'{value:,.{digits}f}'


def interval(estimate: Estimate, digits: int = 2) -> str:
    """'12.30 to 14.50', or nothing."""
    if math.isnan(estimate.low):
        return ''
    return f'{number(estimate.low, digits)} to {number(estimate.high, digits)}'


def whole(value: float) -> str:
    return f'{value:,.0f}'


def seconds(value: float) -> str:
    return f'{1000 * value:,.1f} ms' if value < 1 else f'{value:,.2f} s'


def mib(value: float | None) -> str:
    return '\N{EN DASH}' if value is None else f'{value / 2**20:,.1f}'
