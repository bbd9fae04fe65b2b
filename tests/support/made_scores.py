"""Made scores, for the tests of results and of the report."""

import numpy as np
import pytest
from scipy.special import expit, softmax

from mmdensenet.results.scores import Scores


def single(images=300, classes=4, seed=0, factor=1.0, **more) -> Scores:
    """Labels drawn from the softmax of random logits; the scores are those of ``factor`` times the logits."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(images, classes))
    shares = softmax(logits, axis=1).cumsum(1)
    truth = (rng.random((images, 1)) > shares).sum(1).clip(max=classes - 1)
    return make(softmax(factor * logits, axis=1), truth, **more)


def several(images=300, labels=3, seed=0, factor=1.0, unknown=0.2) -> Scores:
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(images, labels))
    truth = (rng.random((images, labels)) < expit(logits)).astype(float)
    truth[rng.random((images, labels)) < unknown] = -1
    return make(expit(factor * logits), truth)


def make(scores, truth, **more) -> Scores:
    count = len(scores)
    names = [f'class {i}' for i in range(scores.shape[1])]
    return Scores(scores, truth, np.arange(count), [''] * count, names, **more)


def with_logits(scores):
    """Return the scores with their logits; those of a softmax are known up to a constant for each image."""
    logits = np.log(scores.scores) - (np.log1p(-scores.scores) if scores.multi_label else 0)
    scores.logits = logits + (0 if scores.multi_label else np.random.default_rng(0).normal(3, 1, (len(scores), 1)))
    return scores


def by_name(overall) -> dict:
    return {metric.name: metric.estimate for metric in overall}


def close(left: float, right: float) -> bool:
    return left == pytest.approx(right, rel=1e-5, nan_ok=True)


def halves(scores):
    scores = with_logits(scores)
    return scores.take(np.arange(len(scores)) < 300), scores.take(np.arange(len(scores)) >= 300)
