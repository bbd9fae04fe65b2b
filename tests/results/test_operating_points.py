"""mmdensenet.results.operating_points: what scikit-learn's curves give, and thresholds that roundings do not move."""

import numpy as np
import pytest
from sklearn import metrics as sklearn

from mmdensenet.errors import UserError
from mmdensenet.results.operating_points import fit_operating_point, parse_rule


def made(seed, images=200, digits=2):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, images)
    return np.clip(rng.normal(0.4 + 0.2 * truth, 0.2), 0, 1).round(digits), truth  # with ties


@pytest.mark.parametrize('seed', range(4))
def test_rules_as_scikit_learn_curves(seed):
    scores, truth = made(seed)
    false, sensitivity, thresholds = sklearn.roc_curve(truth, scores, drop_intermediate=False)
    precision, recall, at = sklearn.precision_recall_curve(truth, scores)
    harmonic = (2 * precision * recall / np.maximum(precision + recall, 1e-12))[:-1]
    expected = {
        'youden': thresholds[np.argmax(sensitivity - false)],
        'f1': at[np.flatnonzero(harmonic >= harmonic.max() - 1e-12)[-1]],
        'sensitivity=0.9': thresholds[np.flatnonzero(sensitivity >= 0.9)[0]],
        'specificity=0.9': thresholds[np.flatnonzero(1 - false >= 0.9 - 1e-12)[-1]],
    }
    for rule, threshold in expected.items():
        point = fit_operating_point(scores, truth, rule)
        found, wanted = scores >= point.threshold, scores >= threshold
        if rule == 'specificity=0.9':  # of equal sensitivity the highest threshold
            assert (found & (truth == 1)).sum() == (wanted & (truth == 1)).sum() and found.sum() <= wanted.sum()
        else:
            assert (found == wanted).all(), rule
        assert point.sensitivity == pytest.approx(sklearn.recall_score(truth, found))
        assert point.specificity == pytest.approx(sklearn.recall_score(1 - truth, ~found))
        assert np.abs(scores - point.threshold).min() > 0.004, 'in the middle between two scores'
    assert fit_operating_point(scores, truth, 'sensitivity=0.9').sensitivity >= 0.9
    assert fit_operating_point(scores, truth, 'specificity=0.9').specificity >= 0.9


def test_targets_at_their_ends():
    scores, truth = np.array([0.9, 0.8, 0.7, 0.6]), np.array([0, 1, 0, 1])
    assert fit_operating_point(scores, truth, 'specificity=1') is None, 'only by never predicting it'
    every = fit_operating_point(scores, truth, 'sensitivity=1')
    assert (every.threshold, every.sensitivity, every.specificity) == (0.3, 1, 0)
    assert fit_operating_point(scores, truth, 'specificity=0.5').sensitivity == 0.5
    last_but_one = fit_operating_point(scores, np.array([0, 1, 1, 0]), 'sensitivity=1')
    assert (last_but_one.threshold, last_but_one.specificity) == (pytest.approx(0.65), 0.5)


def test_what_differs_by_rounding_is_not_divided():
    """The same image twice, or the same score in another runtime: a threshold between the two would be chance."""
    point = fit_operating_point(np.array([0.5, np.nextafter(0.5, 1)]), np.array([0, 1]), 'youden')
    assert (point.sensitivity, point.specificity) == (1, 0)
    scores, truth = made(0, digits=1)
    rng = np.random.default_rng(1)
    for rule in ('youden', 'f1', 'sensitivity=0.9', 'specificity=0.9'):
        wanted = fit_operating_point(scores, truth, rule)
        for _ in range(3):
            other = np.clip(scores + rng.normal(0, 1e-8, 200), 0, 1)
            found = fit_operating_point(other, truth, rule)
            assert ((other >= found.threshold) == (scores >= wanted.threshold)).all(), rule
            assert (found.sensitivity, found.specificity) == (wanted.sensitivity, wanted.specificity)


@pytest.mark.parametrize(
    'rule', ['', 'best', 'sensitivity', 'sensitivity=0', 'specificity=1.1', 'f1=0.5', None, 'recall=nan']
)
def test_unknown_rules_are_refused(rule):
    with pytest.raises(UserError, match='give youden, f1, sensitivity=X or specificity=X'):
        parse_rule(rule)
