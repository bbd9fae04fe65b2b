"""mmdensenet.results.bootstrap: intervals from resampled images and groups."""

import numpy as np
import pytest
from made_scores import by_name, make, single

from mmdensenet.results.bootstrap import Resampling, divide, estimate, mean_of_labels, nan_mean
from mmdensenet.results.class_metrics import compute_metrics


def test_groups_are_drawn_together():
    groups = np.repeat(np.arange(10), 12)
    weights = Resampling(120, groups, count=20).weights
    assert (weights.reshape(20, 10, 12) == weights[:, ::12, None]).all()
    assert (weights.sum(1) == 120).all()
    scores = single(images=120)
    # all images of a group are alike: there are ten, not 120
    alike = make(scores.scores[::12].repeat(12, 0), scores.truth[::12].repeat(12), groups=groups)
    wide = by_name(compute_metrics(alike, Resampling(120, groups))[0])['top-1 accuracy']
    narrow = by_name(compute_metrics(alike, Resampling(120))[0])['top-1 accuracy']
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)


def test_estimate():
    found = estimate(3.0, np.array([1.0, 2.0, np.nan, 4.0]))
    low, high = np.percentile([1, 2, 4], [2.5, 97.5])
    assert (found.low, found.high) == (low, high)
    assert np.isnan(estimate(3.0, np.array([np.nan])).low)
    assert np.isnan(estimate(1.0, np.ones(50)).low), 'of a model without errors: no width is no certainty'


def test_one_group_has_no_resamplings():
    """All would be the group itself, and an interval without width the result."""
    assert Resampling(5, np.zeros(5), 10).weights.shape == (0, 5) == Resampling(5, np.ones(5), 10).weights.shape
    assert Resampling(1, None, 10).weights.shape == (0, 1) and Resampling(2, None, 10).weights.shape == (10, 2)


def test_what_is_not_defined_counts_in_no_mean():
    values = np.array([[1.0, np.nan, 4.0], [np.nan] * 3, [2.0, 2.0, 5.0]])
    np.testing.assert_array_equal(nan_mean(values, 1), [2.5, np.nan, 3.0])
    np.testing.assert_array_equal(nan_mean(values, 0), [1.5, 2.0, 4.5])
    np.testing.assert_array_equal(divide(np.array([1.0, 0.0]), np.array([2.0, 0.0])), [0.5, np.nan])


def test_means_of_resamplings_are_over_the_same_labels():
    nan = np.nan
    drawn = np.array([[0.5, 0.7, nan], [0.7, nan, nan], [nan, nan, nan], [nan, 0.1, 0.3]])
    value, means = mean_of_labels(np.array([0.6, 0.2, nan]), drawn)
    assert value == pytest.approx(0.4)
    assert means == pytest.approx([0.6, 0.45, nan, 0.35], nan_ok=True)
    value, means = mean_of_labels(np.array([nan, nan]), np.ones((3, 2)))
    assert np.isnan(value) and means.shape == (3,) and np.isnan(means).all()
    assert mean_of_labels(np.array([0.6, 0.2]), np.ones((0, 2)))[1].shape == (0,)
