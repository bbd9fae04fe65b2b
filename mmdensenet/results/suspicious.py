"""Labels that a model contradicts: confident learning (Northcutt et al. 2021, arXiv:1911.00068)."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .scores import Scores

#: scores that differ by less count as equal
ROUNDING = 1e-6


@dataclass(frozen=True)
class Suspicion:
    """A label that is likely wrong.

    Attributes:
        place: row of the scores.
        label: the label if there are several; None if an image has one class.
        given, suggested: classes; or 1 and 0 of a label.
        self_confidence: the score of the given label, 0 to 1; the lower, the more suspicious.
    """

    place: int
    label: int | None
    given: int
    suggested: int
    self_confidence: float


def find_suspicious(scores: Scores) -> list[Suspicion]:
    """Labels off the diagonal of the confident joint, the lowest self-confidence first.

    A class is confident for an image if its score reaches the mean score of the class over the images that are labelled
    so. A label is suspicious if another class is confident (the only one, or the best of several), and the given one is
    not the best. Several labels are tested separately, each on the images where it is 1 or 0.

    Args:
        scores: of images that the model was not trained on: validation, or out-of-fold.
    """
    if not scores.multi_label:
        return _ranked(_contradicted(scores.scores, scores.truth), None)
    found = []
    for label in range(scores.scores.shape[1]):
        known = np.flatnonzero(np.isin(scores.truth[:, label], (0, 1)))
        one = scores.scores[known, label]
        each = _contradicted(np.stack([1 - one, one], 1), scores.truth[known, label].astype(int))
        found += _ranked(((int(known[place]), *rest) for place, *rest in each), label)
    return sorted(found, key=lambda each: each.self_confidence)


def _contradicted(scores: np.ndarray, given: np.ndarray) -> list[tuple[int, int, int, float]]:
    """(place, given, suggested, self-confidence) of (N, C) scores and (N,) classes."""
    if not len(scores):
        return []
    rows, counts = np.arange(len(given)), np.bincount(given, minlength=scores.shape[1])
    own = scores[rows, given]
    with np.errstate(invalid='ignore'):
        thresholds = np.bincount(given, own, scores.shape[1]) / counts
    confident = scores >= np.where(counts > 0, np.maximum(thresholds, 2 * ROUNDING), np.inf) - ROUNDING
    several = confident.sum(1) > 1
    suggested = np.where(several, scores.argmax(1), confident.argmax(1))
    raised = scores.copy()
    raised[rows, given] += ROUNDING
    wrong = confident.any(1) & (suggested != given) & (raised.argmax(1) != given)
    return [(int(i), int(given[i]), int(suggested[i]), float(own[i])) for i in np.flatnonzero(wrong)]


def _ranked(found, label: int | None) -> list[Suspicion]:
    ordered = sorted(found, key=lambda each: each[-1])
    return [Suspicion(place, label, *rest) for place, *rest in ordered]


def in_words(scores: Scores, each: Suspicion) -> tuple[str, str]:
    """The given and the suggested label as text."""
    if each.label is None:
        return scores.classes[each.given], scores.classes[each.suggested]
    name = scores.classes[each.label]
    return tuple(f'{name}: {"present" if there else "absent"}' for there in (each.given, each.suggested))


def write_suspicious(
    file: str | Path, scores: Scores, suspicions: Sequence[Suspicion], images: Sequence[str] | None = None
) -> None:
    """A CSV file: image, label (of several labels), given, suggested, self_confidence; the most suspicious first.

    Args:
        images: names of the images in the order of the scores; by default their paths.
    """
    images = scores.paths if images is None else images
    several = ['label'] if scores.multi_label else []
    with open(file, 'w', encoding='utf-8', newline='') as out:
        writer = csv.writer(out, lineterminator='\n')
        writer.writerow(['image', *several, 'given', 'suggested', 'self_confidence'])
        for each in suspicions:
            if each.label is None:
                values = [scores.classes[each.given], scores.classes[each.suggested]]
            else:
                values = [scores.classes[each.label], each.given, each.suggested]
            writer.writerow([images[each.place], *values, f'{each.self_confidence:.6f}'])
