"""Decisions from a model's logits, fitted on validation images and stored with the weights as plain data.

Checkpoints and exported files may be hostile, so :meth:`Decisions.from_dict` checks every value.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import zip_longest
from typing import Any

import numpy as np
from scipy.special import expit, logsumexp, softmax

from mmdensenet.datasets.stated_classes import are_numbers
from mmdensenet.errors import UserError

from .calibration import logits_of
from .operating_points import OperatingPoint, parse_rule
from .scores import Scores

#: to be increased when an older reader would misread the entry
FORMAT = 1
KINDS = ('single-label', 'multi-label')
#: the message for a model without decisions
UNCALIBRATED = 'The scores are uncalibrated, and nothing was decided on validation images (`mmdensenet decide` does).'
#: which figures of a test are of which scores
OTHERS = 'The metrics decided/... are with these decisions; the others are of the scores as they are, uncalibrated.'
#: the message for averaged scores, to which decisions do not apply
AUGMENTED = 'The scores are uncalibrated: they are means over test-time augmentations, which decisions are not for.'
#: the message for a model with several tasks
SEVERAL_TASKS = 'The scores are uncalibrated: decisions are for models with one task.'
#: the most characters of a sentence
LONGEST = 2000
#: the rule of a single-label model without operating points
ARGMAX = 'argmax'


@dataclass(frozen=True)
class Decided:
    """The decisions on N images and C classes.

    Attributes:
        logits: (N, C), divided by their temperature.
        probabilities: (N, C), of these logits.
        positive: (N, C) mask of the predicted classes; a single-label model predicts one.
        sets: (N, C) mask of the classes in the conformal set, which may be empty; None without conformal sets.
        ood_scores: (N,), larger for images that are less like those of the validation; None without a threshold.
        ood: (N,) mask of scores above the threshold.
    """

    logits: np.ndarray
    probabilities: np.ndarray
    positive: np.ndarray
    sets: np.ndarray | None
    ood_scores: np.ndarray | None
    ood: np.ndarray | None

    @property
    def labels(self) -> np.ndarray:
        """(N,) classes that a single-label model predicts."""
        return self.positive.argmax(1)


@dataclass(frozen=True)
class Decisions:
    """How logits become probabilities, labels, sets and warnings.

    Attributes:
        multi_label: each label is decided by itself, and scores are sigmoid's.
        classes: C names.
        temperatures: divisors of the logits, one, or one for each of several labels; None where none could be fitted,
            so that the scores do not change.
        points: operating points, one for each of several labels, or one for the second of two classes; for more classes
            none (the largest probability decides) or C (the largest ratio of probability and threshold decides). None
            for a label without a point, which is not decided.
        coverage: share of images whose class is in its conformal set, or for several labels the share of the images
            with a label whose set contains it. None without conformal sets.
        quantiles: the largest 1 - score (at temperature 1) of a member of the set, one, or one for each of several
            labels; None where there were too few images.
        ood_threshold: of the energy ``-logsumexp(logits)`` (arXiv:2010.03759), for several labels
            ``-sum(log(1 + exp(logits)))`` (arXiv:2109.00719); or None.
        part: the data of the fit; ``samples`` is its number of images.
        weights: :func:`mmdensenet.checkpoints.checkpoint_meta.hash_weights` of the model; '' if unknown.
        left_out: sentences on what could not be fitted.
        prepared: :func:`.preparation.preparation` of the images; () if unknown.
    """

    multi_label: bool
    classes: tuple[str, ...]
    temperatures: tuple[float | None, ...]
    points: tuple[OperatingPoint | None, ...]
    coverage: float | None
    quantiles: tuple[float | None, ...]
    ood_threshold: float | None
    part: str
    samples: int
    weights: str
    left_out: tuple[str, ...] = ()
    prepared: tuple[str, ...] = ()

    @property
    def undecided(self) -> list[str]:
        """Labels without an operating point, which are never predicted."""
        return [name for name, point in zip(self.classes, self.points) if point is None] if self.multi_label else []

    @property
    def without_sets(self) -> list[str]:
        """Labels without a conformal quantile."""
        pairs = zip(self.classes, self.quantiles) if self.multi_label else ()
        return [name for name, quantile in pairs if quantile is None]

    def require_names(self, names: Sequence[str] | None, source: str) -> None:
        """Compare the classes with equally many ``names``, unless either are unknown or only numbers.

        Raises:
            UserError: if they are other names, or in another order.
        """
        unknown = names is None or len(names) != len(self.classes) or are_numbers(names) or are_numbers(self.classes)
        for number, (own, other) in enumerate(() if unknown else zip(self.classes, names)):
            if own != other:
                raise UserError(
                    f'{source}: its decisions are for other classes, {own!r:.60} in the place of {other!r:.60} (number '
                    f'{number}). Make them again with `mmdensenet decide`.'
                )

    def require_preparation(self, prepared: Sequence[str], source: str) -> None:
        """Compare how images come to the model with how those of the fit came, where both are known.

        Args:
            prepared: :func:`.preparation.preparation`; of one text, the normalisation, where there is no pipeline.

        Raises:
            UserError: if they are prepared otherwise, which the message names.
        """
        if found := first_difference(self.prepared, prepared):
            raise UserError(
                f'{source}: its decisions (temperature, thresholds) are for images that are prepared otherwise: '
                f'{found[0]:.150} in the place of {found[1]:.150}. Prepare them so, or make the decisions again with '
                '`mmdensenet decide`.'
            )

    def apply(self, logits: np.ndarray) -> Decided:
        """Decide on logits (N, C).

        Raises:
            UserError: if they are of other classes, or not finite.
        """
        logits = np.asarray(logits, dtype=np.float64)
        if logits.ndim != 2 or logits.shape[1] != len(self.classes):
            raise UserError(f'the decisions are for {len(self.classes)} classes, not for logits of {logits.shape}.')
        if not np.isfinite(logits).all():
            raise UserError('the logits are not all finite numbers, so that nothing can be decided from them.')
        scaled = self.scaled(logits)
        probabilities = activate(scaled, self.multi_label)
        energies = energy(logits, self.multi_label) if self.ood_threshold is not None else None
        return Decided(
            scaled,
            probabilities,
            self._positive(probabilities),
            self._sets(logits),
            energies,
            None if energies is None else energies > self.ood_threshold,
        )

    def apply_to(self, scores: Scores) -> Decided:
        """Decide on scores of images. Without logits there is no energy, because softmax loses a constant.

        Raises:
            UserError: as :meth:`apply` does, and for means over test-time augmentations.
            ValueError: for scores that are decided already.
        """
        if scores.positive is not None:
            raise ValueError('these scores are calibrated and decided already')
        if scores.augmented:
            raise UserError(AUGMENTED)
        decisions = replace(self, ood_threshold=None) if scores.logits is None else self
        return decisions.apply(logits_of(scores))

    def scaled(self, logits: np.ndarray) -> np.ndarray:
        """Logits (N, C), divided by their temperature."""
        return logits / [1.0 if t is None else t for t in self.temperatures]

    def _positive(self, probabilities: np.ndarray) -> np.ndarray:
        count = len(self.classes)
        if self.multi_label:  # a probability is never above 2: that label is not decided
            return probabilities >= [2.0 if point is None else point.threshold for point in self.points]
        if len(self.points) == 1:
            second = probabilities[:, 1] >= self.points[0].threshold
            return np.stack([~second, second], 1)
        scaled = probabilities
        if self.points:
            scaled = probabilities / [max(point.threshold, np.finfo(float).tiny) for point in self.points]
        return np.eye(count, dtype=bool)[scaled.argmax(1)]

    def _sets(self, logits: np.ndarray) -> np.ndarray | None:
        if self.coverage is None:
            return None
        quantiles = np.array([-1.0 if q is None else q for q in self.quantiles])
        return 1 - activate(logits, self.multi_label) <= quantiles

    def lines(self) -> list[str]:
        """The decisions as sentences."""
        known = [t for t in self.temperatures if t is not None]
        of = f'{known[0]:.3g}' if len(known) == 1 else f'{min(known):.3g} to {max(known):.3g}' if known else ''
        of = '' if set(known) == {1.0} else f' (temperature {of})'  # an ensemble's models have been divided by theirs
        calibrated = f'Scores are calibrated{of}' if known else 'Scores are uncalibrated'
        rules = sorted({point.rule for point in self.points if point is not None})
        if rules:
            decided = f'labels are decided by {", ".join(rules)}'
        else:
            decided = (
                'no label is decided' if self.multi_label else 'the class with the largest probability is predicted'
            )
        sets = f', sets cover {self.coverage:.0%}' if self.coverage is not None else ''
        first = f'{calibrated}, {decided}{sets}: fitted on {self.samples} images of {self.part}.'
        return [first, *(f'Left out: {sentence}' for sentence in self.left_out)]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON and checkpoints."""
        values = {key: list(value) if isinstance(value, tuple) else value for key, value in vars(self).items()}
        values['points'] = [None if point is None else asdict(point) for point in self.points]
        kind = KINDS[values.pop('multi_label')]
        return dict(format=FORMAT, kind=kind, **values)

    @classmethod
    def from_dict(cls, values: Any, source: str) -> 'Decisions':
        """The inverse of :meth:`to_dict`, which checks every value.

        Args:
            source: the file's name in messages.

        Raises:
            UserError: for an invalid value, which the message names.
        """
        if not isinstance(values, Mapping):
            raise UserError(f'{source}: its decisions are no dictionary. Make them again with `mmdensenet decide`.')
        if values.get('format') != FORMAT:
            raise UserError(f'{source}: its decisions have format {values.get("format")!r:.40}, known is {FORMAT}.')
        # 'prepared' is younger than the format, and others read files without it
        values = {'prepared': [], **values, 'multi_label': values.get('kind') == 'multi-label'}
        missing = sorted(({'kind'} | set(cls.__dataclass_fields__)) - set(values))
        wrong = f'lack {", ".join(missing)}' if missing else _what_is_wrong(values)
        if wrong:
            raise UserError(f'{source}: its decisions {wrong}. Make them again with `mmdensenet decide`.')
        given = {name: values[name] for name in cls.__dataclass_fields__}
        given = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
        given['points'] = tuple(
            None if p is None else OperatingPoint(**{name: p[name] for name in OperatingPoint.__dataclass_fields__})
            for p in values['points']
        )
        return cls(**given)


def first_difference(one: Sequence[str], other: Sequence[str]) -> tuple[str, str] | None:
    """The first texts in which two ways of preparing images differ, see :func:`.preparation.preparation`.

    If one is unknown there is none; if one has no pipeline, normalisations are compared.
    """
    if 1 in (len(one), len(other)):
        one, other = one[-1:], other[-1:]
    pairs = zip_longest(one, other, fillvalue='nothing') if one and other else ()
    return next((pair for pair in pairs if pair[0] != pair[1]), None)


def activate(logits: np.ndarray, multi_label: bool) -> np.ndarray:
    """Sigmoid of the logits for several labels, otherwise softmax."""
    return expit(logits) if multi_label else softmax(logits, axis=1)


def energy(logits: np.ndarray, multi_label: bool) -> np.ndarray:
    """(N,) energies of logits (N, C), larger for images that are less like those of the training."""
    return -np.logaddexp(0, logits).sum(1) if multi_label else -logsumexp(logits, axis=1)


def _what_is_wrong(values: Mapping) -> str | None:
    multi_label, classes = values['multi_label'], values['classes']
    if values['kind'] not in KINDS:
        return f'are of kind {values["kind"]!r:.40}, not of {" or ".join(KINDS)}'
    if not _is_list(classes, lambda name: isinstance(name, str)) or len(classes) < (1 if multi_label else 2):
        return 'have wrong classes'
    count = len(classes)
    each = (count,) if multi_label else (1,)
    lengths = each if multi_label else (0, 1) if count == 2 else (0, count)
    points, coverage, quantiles = values['points'], values['coverage'], values['quantiles']
    checks = {
        'temperatures': _is_list(values['temperatures'], lambda t: t is None or _is_between(t, 1e-6, 1e6), each),
        'points': _is_list(points, lambda point: _is_point(point, multi_label), lengths),
        'coverage': coverage is None or _is_between(coverage, 1e-9, 1 - 1e-9),
        'quantiles': _is_list(
            quantiles, lambda q: q is None or _is_between(q, 0, 1), each if coverage is not None else (0,)
        ),
        'ood_threshold': values['ood_threshold'] is None or _is_between(values['ood_threshold'], -1e30, 1e30),
        'part': _is_text(values['part'], 200),
        'samples': type(values['samples']) is int and values['samples'] > 0,
        'weights': isinstance(values['weights'], str) and bool(re.fullmatch('([0-9a-f]{64})?', values['weights'])),
        'left_out': _is_list(values['left_out'], lambda text: _is_text(text, LONGEST)),
        'prepared': _is_list(values['prepared'], lambda text: _is_text(text, LONGEST)),
    }
    wrong = [name for name, right in checks.items() if not right]
    return f'have wrong {wrong[0]}' if wrong else None


def _is_point(point: Any, may_be_missing: bool) -> bool:
    if point is None:
        return may_be_missing
    if not isinstance(point, Mapping) or not set(OperatingPoint.__dataclass_fields__) <= set(point):
        return False
    try:
        parse_rule(point['rule'])
    except UserError:
        return False
    return all(_is_between(point[name], 0, 1) for name in ('threshold', 'sensitivity', 'specificity'))


def _is_between(value: Any, low: float, high: float) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and low <= value <= high


def _is_list(value: Any, is_right, lengths: Sequence[int] | None = None) -> bool:
    """Whether a value is a list of valid items with one of these lengths."""
    return isinstance(value, list) and all(map(is_right, value)) and (lengths is None or len(value) in lengths)


def printable(text: str) -> str:
    """The text with a space for each unprintable character, such as Excel's no-break space in class names."""
    return ''.join(character if character.isprintable() else ' ' for character in text)


def _is_text(value: Any, most: int) -> bool:
    """Whether a value is printable text of at most ``most`` characters."""
    return isinstance(value, str) and len(value) <= most and value.isprintable()
