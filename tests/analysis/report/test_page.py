"""Numbers as the page shows them, and escaped text."""

import math

import pytest
from jinja2 import UndefinedError

from mmdensenet.analysis.report.page import interval, number, render, seconds, size
from mmdensenet.results.bootstrap import Estimate

DASH = '\N{EN DASH}'


@pytest.mark.parametrize(
    ('shown', 'text'),
    [
        (number(1234.567), '1,234.57'),
        (number(0.5, 0), '0'),
        (number(None), DASH),
        (number(math.nan), DASH),
        (interval(Estimate(0.5, 0.25, 0.75), 1), '0.2 to 0.8'),
        (interval(Estimate(0.5)), ''),
        (number(1e6, 0), '1,000,000'),
        (seconds(0.0123), '12.3 ms'),
        (seconds(61.5), '61.50 s'),
        (size(999 * 1024), '999.0 KiB'),
        (size(1000 * 1024), '1.0 MiB'),
        (size(None), DASH),
    ],
)
def test_numbers(shown, text):
    assert shown == text


def test_what_the_template_needs_has_to_be_given():
    with pytest.raises(UndefinedError):
        render()
