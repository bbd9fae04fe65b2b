"""The calibration of scores as probabilities, and temperature scaling."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, log_expit, log_softmax, logit

from .bootstrap import CONFIDENCE, Estimate, Resampling, divide, estimate
from .scores import Scores

BINS = 15
#: with fewer images no temperature is fitted
FEWEST_IMAGES = 20
#: the most images of a half on which a temperature is fitted
MOST_IMAGES = 10_000
#: bounds of the logarithm of a temperature
BOUNDS = (-4.0, 4.0)


@dataclass(frozen=True)
class Bins:
    """The number of decisions, mean score and accuracy in each of 15 equally wide bins of the score, (15,) each."""

    count: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray


@dataclass(frozen=True)
class Calibration:
    """Expected calibration error (percent) and log loss (nats), without and with the temperature.

    Attributes:
        temperatures: of the two halves; None if there are too few images, or if the temperature is a stored one.
    """

    before: Bins
    error: Estimate
    loss: Estimate
    temperatures: tuple[float, float] | None = None
    after: Bins | None = None
    error_after: Estimate | None = None
    loss_after: Estimate | None = None

    @property
    def at_bound(self) -> bool:
        """Whether a temperature is the smallest or largest that is tried: the log loss has no minimum between them."""
        return any(map(is_at_bound, self.temperatures or ()))


def compute_calibration(scores: Scores, resampling: Resampling, seed: int = 0) -> Calibration:
    """Calibration of the best class's score, or with several labels of all scores of known labels.

    The temperature (arXiv:1706.04599) divides the logits. It is fitted twice, on one random half of the images by log
    loss, and evaluated on the other half, never on the images of the fit. Groups stay together.
    """
    values = logits_of(scores)
    before = _judge(scores, _probabilities(scores, values), values, resampling)
    groups = np.arange(len(scores)) if scores.groups is None else scores.groups
    distinct = np.unique(groups)
    if len(distinct) < 2 or len(scores) < FEWEST_IMAGES:
        return Calibration(*before)
    rng = np.random.default_rng(seed)
    first = np.isin(groups, rng.permutation(distinct)[: len(distinct) // 2])
    scaled, temperatures = np.empty_like(values), []
    for fit, judge in ((first, ~first), (~first, first)):
        some = np.flatnonzero(fit)
        some = rng.permutation(some)[:MOST_IMAGES]
        temperature = fit_temperature(values[some], scores.truth[some])
        scaled[judge] = values[judge] / temperature
        temperatures.append(temperature)
    after = _judge(scores, _probabilities(scores, scaled), scaled, resampling)
    return Calibration(*before, (temperatures[0], temperatures[1]), *after)


def stored_calibration(scores: Scores, decided: Scores, resampling: Resampling) -> Calibration:
    """The same with the temperature in use.

    Args:
        scores: as they are.
        decided: the same images, see :func:`.decided.decided_scores`.
    """
    values = logits_of(scores)
    before = _judge(scores, _probabilities(scores, values), values, resampling)
    return Calibration(*before, None, *_judge(scores, decided.scores, decided.logits, resampling))


def _judge(
    scores: Scores, probabilities: np.ndarray, logits: np.ndarray, resampling: Resampling
) -> tuple[Bins, Estimate, Estimate]:
    error = calibration_error(scores, probabilities, resampling)
    return _bins(scores, probabilities), error, mean_log_loss(scores, logits, resampling)


def is_at_bound(temperature: float) -> bool:
    """Whether it is the smallest or largest that :func:`fit_temperature` tries."""
    return abs(math.log(temperature)) > 0.99 * BOUNDS[1]


def fit_temperature(logits: np.ndarray, truth: np.ndarray) -> float:
    """The temperature with the least log loss, between e**-4 and e**4.

    Args:
        logits: (N, C).
        truth: (N,) classes, or (N, C) of 1, 0 and -1 for several labels.
    """
    from scipy.optimize import minimize_scalar  # takes long to import, and only a fit needs it

    result = minimize_scalar(lambda log: _losses(logits / np.exp(log), truth)[0].sum(), bounds=BOUNDS, method='bounded')
    return float(np.exp(result.x))


def logits_of(scores: Scores) -> np.ndarray:
    """(N, C) logits; if they were not stored, up to a constant per image, to which softmax is invariant."""
    if scores.logits is not None:
        return scores.logits
    tiny = np.finfo(np.float32).tiny
    if scores.multi_label:
        return logit(np.clip(scores.scores, tiny, 1 - 2.0**-24))
    return np.log(np.clip(scores.scores, tiny, 1))


def _probabilities(scores: Scores, logits: np.ndarray) -> np.ndarray:
    return expit(logits) if scores.multi_label else np.exp(log_softmax(logits, axis=1))


def _losses(logits: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N,) sums of the log loss of each image's known labels, and the numbers of these labels."""
    if truth.ndim == 1:
        return -np.take_along_axis(log_softmax(logits, axis=1), truth[:, None], 1)[:, 0], np.ones(len(truth))
    known = truth >= 0
    each = np.where(known, -np.where(truth == 1, log_expit(logits), log_expit(-logits)), 0)
    return each.sum(1), known.sum(1).astype(float)


def mean_log_loss(
    scores: Scores, logits: np.ndarray, resampling: Resampling, confidence: float = CONFIDENCE
) -> Estimate:
    """Mean log loss of ``logits`` (N, C) in nats, per image or per known label."""
    sums, counts = _losses(logits, scores.truth)
    return estimate(divide(sums.sum(), counts.sum()), resampling.mean(sums, counts), confidence)


def _decisions(scores: Scores, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(M,) images, confidences, and whether the decisions were right."""
    if scores.multi_label:
        image, label = np.nonzero(scores.truth >= 0)
        return image, probabilities[image, label], scores.truth[image, label] == 1
    best = scores.scores.argmax(1)  # a temperature does not change it
    confidence = np.take_along_axis(probabilities, best[:, None], 1)[:, 0]
    return np.arange(len(scores)), confidence, best == scores.truth


def _place(confidence: np.ndarray) -> np.ndarray:
    return np.minimum((confidence * BINS).astype(int), BINS - 1)


def _bins(scores: Scores, probabilities: np.ndarray) -> Bins:
    _, confidence, right = _decisions(scores, probabilities)
    place = _place(confidence)
    count, total, hits = (
        np.bincount(place, weights=weights, minlength=BINS) for weights in (None, confidence, right.astype(float))
    )
    return Bins(count.astype(int), divide(total, count), divide(hits, count))


def calibration_error(
    scores: Scores, probabilities: np.ndarray, resampling: Resampling, confidence: float = CONFIDENCE
) -> Estimate:
    """Mean over the decisions of their bin's distance between confidence and accuracy, in percent (ECE)."""
    image, score, right = _decisions(scores, probabilities)
    gaps = np.zeros((len(scores), BINS))
    np.add.at(gaps, (image, _place(score)), right - score)
    counts = np.bincount(image, minlength=len(scores))
    value = float(divide(np.abs(gaps.sum(0)).sum(), counts.sum()))
    drawn = divide(np.abs(resampling.weights @ gaps).sum(1), resampling.weights @ counts.astype(np.float32))
    drawn = drawn[~np.isnan(drawn)]  # resamplings without known labels
    # resampling adds noise to every bin, which increases the distances by this much on average
    drawn = np.maximum(drawn - (drawn.mean() - value), 0) if len(drawn) else drawn
    return estimate(100 * value, 100 * drawn, confidence)
