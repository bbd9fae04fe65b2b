"""Thresholds of a score from which a label is predicted, chosen by a rule."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from mmdensenet.errors import UserError

#: rules without a number
PLAIN_RULES = ('youden', 'f1')
#: two scores with closer logits may swap their order if they are computed in another order
ROUNDING = 1e-5
#: rules with a number: at least this sensitivity or specificity, and the largest possible of the other
TARGETS = ('sensitivity', 'specificity')


@dataclass(frozen=True)
class OperatingPoint:
    """A label is predicted if its probability is at least ``threshold``.

    ``rule`` chose the threshold. ``sensitivity`` and ``specificity``, 0 to 1, are those on the images of the fit; on
    others they will be lower.
    """

    rule: str
    threshold: float
    sensitivity: float
    specificity: float


def parse_rule(rule: Any) -> tuple[str, float | None]:
    """The rule's name and number.

    >>> parse_rule('specificity=0.95')
    ('specificity', 0.95)

    Raises:
        UserError: for an unknown rule or number.
    """
    name, _, number = rule.partition('=') if isinstance(rule, str) else ('', '', '')
    if rule in PLAIN_RULES:
        return rule, None
    try:
        value = float(number)
    except ValueError:
        value = -1.0
    if name not in TARGETS or not 0 < value <= 1:
        raise UserError(
            f'operating_point={rule!s:.40}: give {", ".join(PLAIN_RULES)}, sensitivity=X or specificity=X with X '
            'above 0 and at most 1; of one class per image also argmax.'
        )
    return name, value


def fit_operating_point(scores: np.ndarray, truth: np.ndarray, rule: str) -> OperatingPoint | None:
    """The threshold that the rule chooses.

    'youden' maximises sensitivity + specificity - 1 (Youden, Cancer 3(1), 1950), 'f1' the harmonic mean of precision
    and recall; 'sensitivity=X' maximises the specificity among thresholds with at least X, 'specificity=X' the reverse.
    Of equally good thresholds the highest is chosen.

    The threshold is the middle of two scores that differ by more than rounding, if there are such, so that rounding
    does not change predictions.

    Args:
        scores: (N,) probabilities.
        truth: (N,) of 1 and 0, with both.

    Returns:
        None if only a threshold above all scores fulfils the rule.

    Raises:
        UserError: for an unknown rule.
    """
    name, number = parse_rule(rule)
    distinct, place = np.unique(-scores, return_inverse=True)  # the highest first
    positive, negative = (
        np.bincount(place, weights=truth == value, minlength=len(distinct)).cumsum() for value in (1, 0)
    )
    sensitivity, specificity = positive / positive[-1], (negative[-1] - negative) / negative[-1]
    with np.errstate(divide='ignore', invalid='ignore'):  # of 0 and 1
        logits = np.log(-distinct) - np.log1p(distinct)
        apart = np.append(logits[:-1] - logits[1:] > ROUNDING, True)
    if name == 'youden':
        worth = sensitivity + specificity
    elif name == 'f1':
        worth = 2 * positive / (positive + negative + positive[-1])
    elif name == 'sensitivity':
        worth = np.where(sensitivity >= number, specificity, -1.0)
    else:
        worth = np.where(specificity >= number, sensitivity, -1.0)
    chosen = int(np.where(apart, worth, -1.0).argmax())
    if worth[chosen] < 0:
        return None
    if not sensitivity[chosen]:
        return None
    lowest = -float(distinct[chosen])
    below = -float(distinct[chosen + 1]) if chosen + 1 < len(distinct) else 0.0
    middle = below + (lowest - below) / 2
    threshold = middle if below < middle else lowest
    return OperatingPoint(rule, threshold, float(sensitivity[chosen]), float(specificity[chosen]))
