"""mmdensenet.results.calibration: the error by hand, and a temperature that nobody fitted on what it is judged on."""

import numpy as np
import pytest
from made_scores import close, make, several, single
from scipy.special import expit, softmax
from sklearn import metrics as sklearn

from mmdensenet.results.bootstrap import Resampling
from mmdensenet.results.calibration import compute_calibration, fit_temperature


def test_calibration_error_by_hand():
    """Scores 0.9 (three of four right) and 0.6 (one of two): (4 * 0.15 + 2 * 0.1) / 6."""
    first = np.array([0.9, 0.9, 0.9, 0.9, 0.6, 0.6])
    scores = make(np.stack([first, 1 - first], 1), np.array([0, 0, 0, 1, 0, 1]))
    resampling = Resampling(6, count=100)
    found = compute_calibration(scores, resampling)
    assert close(found.error.value, 100 * (4 * 0.15 + 2 * 0.1) / 6)
    gaps = [resampling.weights[:, :4] @ [0.1, 0.1, 0.1, -0.9], resampling.weights[:, 4:] @ [0.4, -0.6]]
    drawn = 100 * np.abs(gaps).sum(0) / 6
    drawn = np.maximum(drawn - drawn.mean() + found.error.value, 0)  # without what resampling adds
    assert (found.error.low, found.error.high) == pytest.approx(np.percentile(drawn, [2.5, 97.5]))
    assert close(found.loss.value, sklearn.log_loss(scores.truth, scores.scores))
    assert found.temperatures is None, 'six images are too few'
    assert found.before.count.sum() == 6 and found.before.accuracy[13] == 0.75


@pytest.mark.parametrize('data', [single, several])
def test_temperature(data):
    """Logits that are 2.5 times too large need a temperature of 2.5."""
    scores = data(images=4000, factor=2.5)
    found = compute_calibration(scores, Resampling(4000, count=50))
    assert found.temperatures == pytest.approx((2.5, 2.5), rel=0.1)
    assert found.error.value > 3 > 1.6 > found.error_after.value
    assert found.loss_after.value < found.loss.value
    assert found.error.low < found.error.value < found.error.high
    plain = compute_calibration(data(images=4000), Resampling(4000, count=2))
    assert plain.temperatures == pytest.approx((1, 1), rel=0.1)
    assert not found.at_bound and not plain.at_bound


def test_no_score_is_judged_with_a_temperature_it_was_fitted_on():
    """In one group all is right, in the other nothing: each gets the temperature that the other asked for."""
    sure = np.full((40, 2), [0.8, 0.2])
    groups = np.repeat([0, 1], 20)
    scores = make(sure, np.repeat([0, 1], 20), groups=groups)
    found = compute_calibration(scores, Resampling(40, groups, count=2))
    assert min(found.temperatures) < 0.1 and max(found.temperatures) > 10
    assert found.at_bound
    assert found.loss_after.value > found.loss.value


def test_temperature_of_extreme_scores():
    truth = np.array([0, 1] * 10)
    assert 0 < fit_temperature(np.log(np.full((20, 2), 0.5)), truth) < 100
    wrong = make(np.eye(2)[1 - truth], truth)  # scores of exactly 0 and 1
    found = compute_calibration(wrong, Resampling(20, count=5))
    assert np.isfinite([found.loss.value, found.loss_after.value, found.error_after.value]).all()


def test_labels_with_scores_of_exactly_0_and_1():
    """Their logits are infinite; the loss of a sure mistake is that of float32's nearest numbers inside 0 to 1."""
    truth = np.array([[0.0, 1.0], [1.0, 0.0]] * 15)
    right, wrong = (compute_calibration(make(scores, truth), Resampling(30, count=3)) for scores in (truth, 1 - truth))
    assert right.loss.value == pytest.approx(0, abs=1e-6)
    nearest = np.array([np.finfo(np.float32).tiny, 2.0**-24])
    assert wrong.loss.value == pytest.approx(-np.log(nearest).mean())
    assert np.isfinite([wrong.loss_after.value, wrong.error_after.value]).all()


def test_the_last_bin_has_a_score_of_1():
    first = np.array([1.0, 0.94, 0.93])  # the last of 15 begins at 14/15, 0.9333
    scores = make(np.stack([first, 1 - first], 1), np.zeros(3, int))
    assert compute_calibration(scores, Resampling(3, count=2)).before.count.tolist() == [0] * 13 + [1, 2]


def test_calibration_error_as_another_library():
    """Figures of netcal 1.4.0, ECE(15)."""
    rng = np.random.default_rng(7)
    logits = rng.normal(size=60) * 2
    truth = (rng.random(60) < expit(logits)).astype(float)
    labels = make(expit(logits).round(4)[:, None], truth[:, None])
    assert compute_calibration(labels, Resampling(60, count=2)).error.value == pytest.approx(100 * 0.21754)
    rng = np.random.default_rng(8)
    shares = softmax(2 * rng.normal(size=(80, 3)), axis=1).round(4)
    classes = np.array([rng.choice(3, p=row / row.sum()) for row in shares])
    scores = make(shares / shares.sum(1, keepdims=True), classes)
    assert compute_calibration(scores, Resampling(80, count=2)).error.value == pytest.approx(100 * 0.10555717468)
