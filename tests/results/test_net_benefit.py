"""mmdensenet.results.net_benefit: figures of dcurves 1.1.7, and by hand."""

import numpy as np
import pytest
from scipy.special import expit

from mmdensenet.results.net_benefit import THRESHOLDS, decision_curve

LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9)
#: what dcurves.dca(..., thresholds=LEVELS) gives for made()
MODEL = (3.552632e-01, 3.333333e-01, 2.000000e-01, 0.0, -6.666667e-02, -1.000000e-01)
EVERYONE = (3.508772e-01, 3.148148e-01, 1.777778e-01, -2.333333e-01, -1.466667, -5.166667)


def made():
    rng = np.random.default_rng(7)
    logits = rng.normal(size=60) * 2
    target = (rng.random(60) < expit(logits)).astype(int)
    return expit(logits).round(4), target


def test_as_another_library():
    found = decision_curve(*made(), LEVELS)
    assert found.model == pytest.approx(MODEL, abs=1e-6)
    assert found.everyone == pytest.approx(EVERYONE, abs=1e-6)


def test_by_hand():
    """At 0.25 a false positive costs a third of what a true one is worth."""
    found = decision_curve(np.array([0.9, 0.25, 0.2, 0.1, 0.5]), np.array([1, 0, 1, 0, -1]), (0.25,))
    assert found.model == pytest.approx([(1 - 1 / 3) / 4]) and found.everyone == pytest.approx([(2 - 2 / 3) / 4])


def test_no_image_is_known():
    assert decision_curve(np.array([0.5]), np.array([-1])) is None
    assert np.array_equal(THRESHOLDS, np.arange(1, 100) / 100)
    assert len(THRESHOLDS) == len(decision_curve(*made()).model) == 99
