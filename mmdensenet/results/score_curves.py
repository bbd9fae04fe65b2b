"""ROC and precision-recall curves with few points."""

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import precision_recall_curve, roc_curve

from .class_metrics import ClassMetrics
from .ranking import by_image, rank
from .scores import Scores

#: the most classes with a curve each; of more classes only those with the lowest average precision
MOST_CLASSES = 10
SHOWN_OF_MANY = 6
#: the most decisions of the curve of all classes together
MOST_DECISIONS = 2_000_000
POINTS = 200


@dataclass(frozen=True)
class ScoreCurve:
    """``roc``: false and true positive rate; ``pr``: recall and precision; (K,) each, from 0 to 1.

    ``auroc`` and ``average_precision`` are the areas under them in percent.
    """

    name: str
    roc: tuple[np.ndarray, np.ndarray]
    pr: tuple[np.ndarray, np.ndarray]
    auroc: float
    average_precision: float


def compute_curves(scores: Scores, classes: list[ClassMetrics], seed: int = 0) -> list[ScoreCurve]:
    """The curve of all decisions together, then those of single classes with positive and negative images."""
    targets = scores.targets
    defined = [i for i, each in enumerate(classes) if each.images and each.others]
    if len(defined) > MOST_CLASSES:
        defined.sort(key=lambda i: classes[i].metrics['average precision'].value)
        defined = sorted(defined[:SHOWN_OF_MANY])
    image, label = np.nonzero(targets >= 0)
    if len(image) > MOST_DECISIONS:
        some = np.random.default_rng(seed).choice(len(image), MOST_DECISIONS, replace=False)
        image, label = image[some], label[some]
    curves = [_curve('all together', targets[image, label] == 1, scores.scores[image, label])]
    for i in defined:
        known = targets[:, i] >= 0
        curves.append(_curve(scores.classes[i], targets[known, i] == 1, scores.scores[known, i]))
    return [curve for curve in curves if curve is not None]


def _curve(name: str, truth: np.ndarray, score: np.ndarray) -> ScoreCurve | None:
    if truth.all() or not truth.any():
        return None
    false, true, _ = roc_curve(truth, score)
    precision, recall, _ = precision_recall_curve(truth, score)
    under = [100 * float(area[0]) for area in rank(score, truth, by_image(np.ones((1, len(score)))))]
    # the last point, at recall 0, is a convention of the library, not a measurement
    return ScoreCurve(name, _thin(false, true), _thin(recall[-2::-1], precision[-2::-1]), *under)


def _thin(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most :data:`POINTS` points, evenly spaced along the curve, with its ends."""
    if len(x) <= POINTS:
        return x, y
    along = np.concatenate([[0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
    wanted = np.searchsorted(along, np.linspace(0, along[-1], POINTS))
    some = np.unique(np.concatenate([[0], np.minimum(wanted, len(x) - 1), [len(x) - 1]]))
    return x[some], y[some]
