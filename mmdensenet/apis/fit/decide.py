"""Decisions from validation scores: temperature, operating points, conformal sets, out-of-distribution threshold."""

import math
from collections.abc import Sequence

import numpy as np

from mmdensenet.errors import UserError
from mmdensenet.results.calibration import FEWEST_IMAGES, fit_temperature, is_at_bound, logits_of
from mmdensenet.results.class_metrics import FEWEST_IMAGES as FEWEST_OF_A_KIND
from mmdensenet.results.decisions import ARGMAX, LONGEST, Decisions, activate, energy, printable
from mmdensenet.results.operating_points import OperatingPoint, fit_operating_point, parse_rule
from mmdensenet.results.scores import Scores

#: share of the validation images whose energy is above the threshold
FLAGGED = 0.05
NO_THRESHOLD = 'no out-of-distribution threshold'
#: a quantile is raised by at most this, so that rounding does not change the conformal sets
SLACK = 1e-4
#: share of their size by which numbers differ where they are computed in another order
ROUNDING = 1e-6


def decide(
    scores: Scores,
    *,
    operating_point: str | None = None,
    coverage: float = 0.9,
    part: str = 'the validation part',
    weights: str = '',
    prepared: Sequence[str] = (),
) -> Decisions:
    """Fit decisions on the scores of validation images, never of test images.

    - Temperature (arXiv:1706.04599), of several labels one each, by least log loss.
    - Operating points of each label, and of the second of two classes, on the calibrated probabilities.
    - Split-conformal sets (arXiv:2107.07511) of ``1 - score`` with the finite-sample correction: the smallest quantile
      that ``ceil((n + 1) * coverage)`` of n images reach. Of several labels they are fitted for each on the images that
      have it. The scores are those at temperature 1, which was not fitted on the same images.
    - The energy that 5% of the images exceed, or of equals fewer, if the scores have logits.

    What cannot be fitted is left out, and ``left_out`` says so by name.

    Args:
        operating_point: 'youden', 'f1', 'sensitivity=X', 'specificity=X' (see
            :func:`mmdensenet.results.operating_points.fit_operating_point`), or 'argmax' for one class per image. By
            default 'youden' for several labels and for two classes, else 'argmax'. With a rule for more than two
            classes each gets the threshold against the rest, and the class with the largest probability in units of
            its threshold is predicted.
        coverage: of the conformal sets, between 0 and 1.
        part: what the images are called, for people.
        weights: hash of the model's weights.
        prepared: :func:`mmdensenet.results.preparation.preparation` of the images.

    Raises:
        UserError: for an unknown rule, a coverage outside 0 to 1, no images, or scores that are not finite.
    """
    require_options(operating_point, coverage)
    logits = np.asarray(logits_of(scores), dtype=np.float64)
    if not len(scores):
        raise UserError(f'{part}: there are no images to decide on.')
    if not np.isfinite(logits).all():
        raise UserError(f'{part}: the scores are not all finite numbers: the weights are damaged.')
    rule = operating_point
    if rule is None:
        rule = 'youden' if scores.multi_label or len(scores.classes) == 2 else ARGMAX
    else:
        require_options(rule, several=scores.multi_label)
    left_out: list[str] = []
    # (N, labels) of 1, 0 and, where it is not known or not sure, -1
    truth = np.where(np.isin(scores.targets, (0, 1)), scores.targets, -1)
    temperatures = _temperatures(scores, logits, truth, left_out)
    scaled = activate(logits / [1.0 if t is None else t for t in temperatures], scores.multi_label)
    points = () if rule == ARGMAX else _points(scores, scaled, truth, rule, left_out)
    quantiles = _quantiles(scores, logits, truth, coverage, left_out)
    known = any(quantile is not None for quantile in quantiles)
    return Decisions(
        multi_label=scores.multi_label,
        classes=tuple(scores.classes),
        temperatures=temperatures,
        points=points,
        coverage=float(coverage) if known else None,
        quantiles=quantiles if known else (),
        ood_threshold=ood_threshold(scores, left_out),
        part=part,
        samples=len(scores),
        weights=weights,
        left_out=tuple(printable(sentence)[:LONGEST] for sentence in left_out),
        prepared=tuple(prepared),
    )


def require_options(operating_point: str | None, coverage: float = 0.9, several: bool = False) -> None:
    """Before images are scored, not after.

    Args:
        several: labels of an image, of which none is the only one.

    Raises:
        UserError: for an unknown rule, and a coverage outside 0 to 1.
    """
    if not 0 < coverage < 1:
        raise UserError(f'coverage={coverage}: give a number between 0 and 1, such as 0.9.')
    if operating_point is not None and (several or operating_point != ARGMAX):
        parse_rule(operating_point)


def _temperatures(scores: Scores, logits: np.ndarray, truth: np.ndarray, left_out: list[str]) -> tuple:
    if not scores.multi_label:
        few = f'of {len(scores)} images, fewer than {FEWEST_IMAGES}' if len(scores) < FEWEST_IMAGES else None
        return (_temperature('', logits, scores.truth, few, left_out),)
    found = []
    for i, name in enumerate(scores.classes):
        known = truth[:, i] >= 0
        few = _too_few(truth[known, i], FEWEST_IMAGES)
        found.append(_temperature(f'{name}: ', logits[known, i, None], truth[known, i, None], few, left_out))
    return tuple(found)


def _temperature(name: str, logits: np.ndarray, truth: np.ndarray, few: str | None, left_out: list[str]):
    right = (logits > 0) == (truth == 1) if truth.ndim == 2 else logits.argmax(1) == truth
    if few:
        why = few
    elif right.all():
        why = 'as every image is right, so that the log loss has no minimum'
    elif not is_at_bound(temperature := fit_temperature(logits, truth)):
        return temperature
    else:
        why = 'as the log loss has no minimum: the scores tell nothing'
    left_out.append(f'{name}the scores stay uncalibrated, {why}.')
    return None


def _points(scores: Scores, probabilities: np.ndarray, truth: np.ndarray, rule: str, left_out: list[str]) -> tuple:
    which = [1] if len(scores.classes) == 2 and not scores.multi_label else range(len(scores.classes))
    points: list[OperatingPoint | None] = []
    for i in which:
        known, name = truth[:, i] >= 0, scores.classes[i]
        few = _too_few(truth[known, i])
        point = None if few else fit_operating_point(probabilities[known, i], truth[known, i], rule)
        if point is None:
            why = few or f'as {rule} is reached only by predicting it never'
            left_out.append(f'{name}: no operating point, {why}.')
        points.append(point)
    if None in points and not scores.multi_label:
        left_out.append('the class with the largest probability is predicted instead (argmax).')
        return ()
    return tuple(points)


def _quantiles(
    scores: Scores, logits: np.ndarray, truth: np.ndarray, coverage: float, left_out: list[str]
) -> tuple[float | None, ...]:
    distances = 1 - activate(logits, scores.multi_label)
    if not scores.multi_label:
        found = [('', conformal_quantile(distances[np.arange(len(scores)), scores.truth], coverage))]
    else:
        found = [
            (f'{name}: ', conformal_quantile(distances[truth[:, i] == 1, i], coverage))
            for i, name in enumerate(scores.classes)
        ]
    fewest = math.ceil(round(coverage / (1 - coverage), 9))  # of n scores the rank is n at most
    for name, quantile in found:
        if quantile is None:
            of = 'images with it' if name else 'images'
            left_out.append(f'{name}no conformal set, as {coverage:.0%} needs {fewest} {of} at least.')
    return tuple(quantile for _, quantile in found)


def _rank(count: int, coverage: float) -> int:
    # 0.9 * 10 is 9.000000000000002 of some coverages: not one more for a rounding
    return math.ceil(round((count + 1) * coverage, 9))


def conformal_quantile(distances: np.ndarray, coverage: float) -> float | None:
    """The ``ceil((n + 1) * coverage)``-th smallest of n distances, or a little more; None where n is too small."""
    rank = _rank(len(distances), coverage)
    if rank > len(distances):
        return None
    ordered = np.sort(distances)
    value, larger = _gap(ordered, rank - 1)
    if value - ordered[rank - 1] > SLACK:
        value = larger = float(ordered[rank - 1])
    return value + min((1.0 if larger is None else larger) - value, 2 * SLACK) / 2


def _gap(ordered: np.ndarray, place: int) -> tuple[float, float | None]:
    """The number at a place of ascending ones, or the first after it that is further from the next than roundings are;
    and this next one, None after the last."""
    rest = ordered[place:]
    wide = np.flatnonzero(np.diff(rest) > ROUNDING * np.maximum(np.abs(rest[1:]), 1))
    end = int(wide[0]) if len(wide) else len(rest) - 1
    return float(rest[end]), float(rest[end + 1]) if len(wide) else None


def ood_threshold(scores: Scores, left_out: list[str]) -> float | None:
    """The energy that 5% of the images exceed, or of equals fewer. None where ``left_out`` gets a sentence."""
    why = 'as the scores have no logits' if scores.logits is None else None
    if len(scores) < FEWEST_IMAGES:
        why = f'of {len(scores)} images, fewer than {FEWEST_IMAGES}'
    if why:
        left_out.append(f'{NO_THRESHOLD}, {why}.')
        return None
    return flagging_threshold(energy(np.asarray(scores.logits, np.float64), scores.multi_label))


def flagging_threshold(energies: np.ndarray) -> float:
    """Below :data:`FLAGGED` of the energies (N,), or of equals fewer."""
    ordered = np.sort(energies)
    last, above = _gap(ordered, len(ordered) - int(round(FLAGGED * len(ordered), 9)) - 1)
    # in the middle between two, so that rounding does not change which images are marked
    return last + max(abs(last), 1.0) * SLACK if above is None else last + (above - last) / 2


def _too_few(truth: np.ndarray, images: int = 0) -> str | None:
    """Why nothing is fitted on these labels, (N,) of 1 and 0; None where they are enough."""
    with_it = int((truth == 1).sum())
    without = len(truth) - with_it
    if min(with_it, without) < FEWEST_OF_A_KIND:
        return f'of {with_it} images with it and {without} without (each needs {FEWEST_OF_A_KIND})'
    return f'of {len(truth)} images, fewer than {images}' if len(truth) < images else None
