"""Decision curves: the net benefit of acting on a probability, against acting on all images or on none."""

from dataclasses import dataclass

import numpy as np

#: probabilities from which a user would act
THRESHOLDS = tuple(round(0.01 * i, 2) for i in range(1, 100))


@dataclass(frozen=True)
class DecisionCurve:
    """Net benefit (Vickers and Elkin, doi:10.1177/0272989X06295361) at each threshold, in true positives an image: of
    acting where the probability is at least the threshold, and of acting on every image. Acting on none has 0."""

    thresholds: tuple[float, ...]
    model: tuple[float, ...]
    everyone: tuple[float, ...]


def decision_curve(
    probability: np.ndarray, target: np.ndarray, thresholds: tuple[float, ...] = THRESHOLDS
) -> DecisionCurve | None:
    """The curve of probabilities and targets (N,) at ascending thresholds; None without images.

    Images whose target is neither 1 nor 0 are left out.
    """
    known = (target == 1) | (target == 0)
    probability, positive = probability[known], target[known] == 1
    if not len(positive):
        return None
    level = np.asarray(thresholds)
    reached = np.searchsorted(level, probability, side='right')  # the number of thresholds that are reached
    counts = [np.bincount(reached[kind], minlength=len(level) + 1) for kind in (positive, ~positive)]
    true, false = (count[::-1].cumsum()[::-1][1:] / len(positive) for count in counts)
    odds = level / (1 - level)
    share = positive.mean()
    return DecisionCurve(
        tuple(thresholds), tuple((true - false * odds).tolist()), tuple((share - (1 - share) * odds).tolist())
    )
