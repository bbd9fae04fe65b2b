"""mmdensenet.results.proportions: Wilson's interval as scipy's, and resampled groups."""

import numpy as np
import pytest
from scipy.stats import binomtest

from mmdensenet.results.bootstrap import Resampling
from mmdensenet.results.proportions import share, share_of_counts, wilson


@pytest.mark.parametrize(('hits', 'count'), [(0, 10), (10, 10), (3, 7), (90, 100), (1, 1)])
def test_wilson(hits, count):
    expected = binomtest(hits, count).proportion_ci(0.9, method='wilson')
    found = wilson(hits, count, 0.9)
    assert (found.value, found.low, found.high) == pytest.approx((hits / count, expected.low, expected.high))
    assert np.isnan(wilson(0, 0).value)
    assert all(wilson(0, n).low == 0 and wilson(n, n).high == 1 for n in range(1, 300)), 'to the last bit'


def test_groups_are_resampled():
    """Images of a group are alike: 20 groups of 10 say as much as 20 images."""
    hit = np.arange(20) % 4 > 0
    groups = np.repeat(np.arange(20), 10)
    of = np.ones(200, bool)
    found = share(np.repeat(hit, 10), of, Resampling(200, groups, 2000), groups)
    alone, naive = wilson(15, 20), wilson(150, 200)
    assert found.value == 0.75
    assert found.high - found.low == pytest.approx(alone.high - alone.low, rel=0.15)
    assert found.high - found.low > 2 * (naive.high - naive.low)


def test_a_share_of_all_is_not_sure():
    groups = np.repeat(np.arange(5), 20)
    found = share(np.ones(100, bool), groups < 4, Resampling(100, groups, 50), groups)
    assert (found.value, found.low) == (1, pytest.approx(wilson(4, 4).low)) and found.low < 0.6
    none = share(np.zeros(100, bool), groups < 4, Resampling(100, groups, 50), groups)
    assert (none.value, none.low, none.high) == (0, 0, pytest.approx(wilson(0, 4).high))
    assert np.isnan(share(np.ones(100, bool), np.zeros(100, bool), Resampling(100, groups, 50), groups).value)


def test_counts():
    """Labels that are right, of those that are known: of two images and a third of which nothing is known."""
    of, resampling = np.array([4, 1, 0]), Resampling(3, None, 500)
    assert share_of_counts(np.array([2, 1, 0]), of, resampling, None).value == 0.6
    every = share_of_counts(of, of, resampling, None)
    assert (every.value, every.low, every.high) == (1, pytest.approx(wilson(2, 2).low), 1)
    assert np.isnan(share_of_counts(of * 0, of * 0, resampling, None).value)
