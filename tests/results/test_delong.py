"""mmdensenet.results.delong: variances by their definition, by another library and by copies."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from mmdensenet.results.delong import delong


def made(seed=0, images=80, digits=1):
    rng = np.random.default_rng(seed)
    target = rng.integers(0, 2, images)
    return (rng.normal(size=images) + target).round(digits), target  # with ties


def test_the_definition():
    """Structural components by comparing all pairs (DeLong et al. 1988, equations 2 to 5)."""
    score, target = made()
    above = score[target == 1][:, None] - score[target == 0]
    wins = (above > 0) + 0.5 * (above == 0)
    variance = wins.mean(1).var(ddof=1) / len(wins) + wins.mean(0).var(ddof=1) / wins.shape[1]
    found = delong(score, target, confidence=0.9)
    assert found.value == pytest.approx(roc_auc_score(target, score))
    assert found.high - found.low == pytest.approx(2 * norm.ppf(0.95) * np.sqrt(variance))


def test_as_another_library():
    library = pytest.importorskip('MLstatkit', reason='MLstatkit is not installed (requirements/tests.txt)')
    (one, target), (other, _) = made(3, digits=6), made(4, digits=6)
    _, _, *intervals, first, second, _ = library.Delong_test(target, one, other)
    for score, interval, value in ((one, intervals[0], first), (other, intervals[1], second)):
        found = delong(score, target)
        assert (found.value, found.low, found.high) == pytest.approx((value, *interval))


def test_groups():
    """Images that stand for themselves are groups of one. Each image twice says no more than once."""
    score, target = made()
    alone = delong(score, target)
    numbered = delong(score, target, np.arange(80)[::-1] + 7)
    assert (numbered.low, numbered.high) == pytest.approx((alone.low, alone.high))
    twice = delong(np.tile(score, 2), np.tile(target, 2), np.tile(np.arange(80), 2))
    assert (twice.value, twice.low, twice.high) == pytest.approx((alone.value, alone.low, alone.high))
    naive = delong(np.tile(score, 2), np.tile(target, 2))
    assert naive.high - naive.low < 0.75 * (alone.high - alone.low)


def test_the_definition_with_groups():
    """Obuchowski 1997, equations 2 to 4, by comparing all pairs: patients with images of both kinds, or of one."""
    score, target = made(5)
    patient = np.random.default_rng(6).integers(0, 15, 80)
    patient[:2] = 15, 16  # of one image each
    above = score[target == 1][:, None] - score[target == 0]
    wins = (above > 0) + 0.5 * (above == 0)
    area, (m, n) = wins.mean(), wins.shape
    positive_sums = [(wins.mean(1) - area)[patient[target == 1] == one].sum() for one in range(17)]
    negative_sums = [(wins.mean(0) - area)[patient[target == 0] == one].sum() for one in range(17)]
    of = [len(set(patient[target == kind])) for kind in (1, 0)]
    variance = (
        of[0] / (of[0] - 1) * np.square(positive_sums).sum() / m**2
        + of[1] / (of[1] - 1) * np.square(negative_sums).sum() / n**2
        + 2 * 17 / 16 * np.dot(positive_sums, negative_sums) / (m * n)
    )
    found = delong(score, target, patient)
    assert found.value - found.low == pytest.approx(norm.ppf(0.975) * np.sqrt(variance))
    assert found.high - found.value == pytest.approx(norm.ppf(0.975) * np.sqrt(variance))


def test_the_interval_is_cut():
    low = delong(np.arange(6.0), np.array([1, 1, 0, 1, 0, 0]))
    high = delong(np.arange(6.0), np.array([0, 0, 1, 0, 1, 1]))
    assert (low.low, high.high) == (0, 1)
    assert 0 < low.high < 1 and 0 < high.low < 1


def test_the_interval_of_groups_holds_what_it_promises():
    """Of 300 draws of 40 patients with 1 to 5 images about 95% have the true area inside."""
    rng, inside = np.random.default_rng(1), []
    truth = norm.cdf(1 / np.sqrt(2 * (1 + 1)))  # of N(1, 2) against N(0, 2)
    for _ in range(300):
        patient = np.repeat(np.arange(40), rng.integers(1, 6, 40))
        target = rng.integers(0, 2, 40)[patient]
        score = target + rng.normal(size=40)[patient] + rng.normal(size=len(patient))
        found = delong(score, target, patient)
        inside.append(found.low <= truth <= found.high)
    assert 0.9 < np.mean(inside) < 0.99


def test_what_is_not_defined():
    assert np.isnan(delong(np.arange(3.0), np.ones(3)).value)
    assert np.isnan(delong(np.arange(3.0), np.array([-1, -1, 0])).value)
    one = delong(np.arange(3.0), np.array([0, 0, 1]))
    assert one.value == 1 and np.isnan(one.low), 'a single positive has no variance'
    two = delong(np.arange(4.0), np.array([0, 1, 0, 1]))
    assert two.value == 0.75 and 0 <= two.low < 0.75, 'two of each kind have one'
    perfect = delong(np.arange(6.0), np.array([0, 0, 0, 1, 1, 1]))
    assert perfect.value == 1 and np.isnan([perfect.low, perfect.high]).all(), 'no variance is no certainty'
    unknown = delong(np.array([5.0, *made()[0]]), np.array([-1, *made()[1]]))
    assert unknown == delong(*made())
