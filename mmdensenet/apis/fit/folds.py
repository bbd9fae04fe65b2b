"""Decisions of the ensemble of a cross-validation's models, and the judgement of each model on its held-out fold."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mmdensenet.errors import UserError
from mmdensenet.results.calibration import logits_of
from mmdensenet.results.decisions import Decided, Decisions, activate
from mmdensenet.results.judgement import Judgement
from mmdensenet.results.scores import Scores, join_scores

from .decide import decide
from .judge import judge_decided

#: what the decisions of folds are fitted on
PART = 'all folds, each scored by the model that has not seen it'


@dataclass(frozen=True)
class OutOfFold:
    """The images of all folds, each with what the model says that has not seen it.

    Attributes:
        scores: as they are.
        decided: as the images of the other folds say, so that neither model nor decisions have seen the image.
        undecided, without_sets: names of labels that a fold's decisions lack, see :class:`Decisions`.
        left_out: sentences on what could not be fitted.
        model: (N,) the number of the model that scored the image; there are ``models``.
    """

    scores: Scores
    decided: Decided
    model: np.ndarray
    models: int
    undecided: tuple[str, ...]
    without_sets: tuple[str, ...]
    left_out: tuple[str, ...]

    def numbered(self, rows: Sequence[int]) -> 'OutOfFold':
        """Sort by the images' ``rows`` (N,), which become their index."""
        order = np.argsort(rows)
        scores = replace(self.scores, index=np.asarray(rows)).take(order)
        decided = Decided(*(None if each is None else each[order] for each in vars(self.decided).values()))
        return replace(self, scores=scores, decided=decided, model=self.model[order])


def decide_members(
    parts: Sequence[Scores], *, operating_point: str | None = None, coverage: float = 0.9, part: str = PART
) -> tuple[tuple[float, ...], Decisions]:
    """One temperature for all models, of several labels one each, and decisions on logits that are divided by it.

    The decisions' own temperatures are 1, or None where none could be fitted. They hold for the logits of one model,
    and for the ensemble's, see :func:`mmdensenet.export.ensemble.mean_logits`.

    Args:
        parts: the scores of each fold's model on the images that it has held out.
        operating_point, coverage, part: see :func:`.decide.decide`.

    Raises:
        UserError: as :func:`.decide.decide` does, and if the folds' classes differ.
    """
    together = join_scores(parts)
    options = dict(operating_point=operating_point, coverage=coverage, part=part)
    found = decide(together, **options)
    temperatures = tuple(1.0 if t is None else t for t in found.temperatures)
    scaled = decide(calibrated(together, temperatures), **options)
    return temperatures, replace(
        found,
        temperatures=tuple(None if t is None else 1.0 for t in found.temperatures),
        quantiles=scaled.quantiles,
        ood_threshold=scaled.ood_threshold,
    )


def calibrated(scores: Scores, temperatures: Sequence[float]) -> Scores:
    """Return the scores with their logits divided by the temperatures."""
    logits = logits_of(scores) / np.asarray(temperatures)
    given = None if scores.logits is None else logits
    return replace(scores, scores=activate(logits, scores.multi_label), logits=given)


def out_of_fold(parts: Sequence[Scores], *, operating_point: str | None = None, coverage: float = 0.9) -> OutOfFold:
    """Decide on each fold as the other folds' images say.

    Args:
        parts: as for :func:`decide_members`.

    Raises:
        UserError: if there are fewer than two folds, or their classes differ.
    """
    if len(parts) < 2:
        raise UserError(f'out-of-fold figures need two folds or more, not {len(parts)}.')
    decided, left_out = [], {}
    undecided, without_sets = set(), set()
    for i, part in enumerate(parts):
        others = [other for j, other in enumerate(parts) if j != i]
        temperatures, decisions = decide_members(
            others, operating_point=operating_point, coverage=coverage, part='the other folds'
        )
        decided.append(decisions.apply_to(calibrated(part, temperatures)))
        undecided |= set(decisions.undecided)
        without_sets |= set(decisions.without_sets)
        left_out |= dict.fromkeys(f'Left out in fold {i}: {sentence}' for sentence in decisions.left_out)
    return OutOfFold(
        scores=join_scores(parts),
        decided=_join(decided),
        model=np.repeat(np.arange(len(parts)), [len(part) for part in parts]),
        models=len(parts),
        undecided=tuple(sorted(undecided)),
        without_sets=tuple(sorted(without_sets)),
        left_out=tuple(left_out),
    )


def judge_folds(found: OutOfFold, **settings) -> Judgement:
    """The figures of the models, each on the fold that it has not seen.

    Args:
        settings: of :func:`.judge.judge_decided`.
    """
    caveats = [
        f'Out-of-fold figures of {found.models} models: each image is scored by the model that has not seen it, and '
        'temperature and thresholds are those of the other folds.',
        'They are of single models. The ensemble, the mean of their probabilities, has no figures of its own, for its '
        'models have seen every image.',
    ]
    return judge_decided(
        found.scores,
        found.decided,
        undecided=found.undecided,
        without_sets=found.without_sets,
        caveats=[*caveats, *found.left_out],
        **settings,
    )


def _join(parts: Sequence[Decided]) -> Decided:
    columns = zip(*(vars(part).values() for part in parts))
    return Decided(*(None if any(c is None for c in column) else np.concatenate(column) for column in columns))
