"""Decisions of the ensemble of a cross-validation's models, and the judgement of each model on its held-out fold.

Energies of images differ between models, so an image is compared with the threshold of what scored it: a single model's
is of the images that chose its epoch, the ensemble's see :func:`ensemble_energies`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from mmdensenet.errors import UserError
from mmdensenet.export.ensemble import mean_logits
from mmdensenet.results.calibration import logits_of
from mmdensenet.results.decisions import Decided, Decisions, activate, energy
from mmdensenet.results.judgement import Judgement
from mmdensenet.results.scores import Scores, join_scores

from .decide import NO_THRESHOLD, decide, flagging_threshold, ood_threshold
from .judge import judge_decided

#: the sentence on an ensemble without a threshold of energies
NO_PAIRS = f'{NO_THRESHOLD}, as no image has two models that were not trained on it.'
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
    parts: Sequence[Scores],
    *,
    validation: Sequence[Scores] | None = None,
    operating_point: str | None = None,
    coverage: float = 0.9,
    part: str = PART,
) -> tuple[tuple[float, ...], Decisions]:
    """One temperature for all models, of several labels one each, and decisions on logits that are divided by it.

    The decisions' own temperatures are 1, or None where none could be fitted. They hold for the logits of one model,
    and for the ensemble's, see :func:`mmdensenet.export.ensemble.mean_logits`.

    Args:
        parts: the scores of each fold's model on the images that it has held out.
        validation: the scores of each model on the images that chose its epoch, which another has held out. Without,
            the threshold of energies is that of single models.
        operating_point, coverage, part: see :func:`.decide.decide`.

    Raises:
        UserError: as :func:`.decide.decide` does, and if the folds' classes differ.
    """
    together = join_scores(parts)
    options = dict(operating_point=operating_point, coverage=coverage, part=part)
    found = decide(together, **options)
    temperatures = tuple(1.0 if t is None else t for t in found.temperatures)
    scaled = decide(calibrated(together, temperatures), **options)
    threshold, left_out = scaled.ood_threshold, found.left_out
    if validation is not None and threshold is not None:
        energies = ensemble_energies(
            *([calibrated(one, temperatures) for one in of_models] for of_models in (parts, validation))
        )
        threshold = None if energies is None else flagging_threshold(energies)
        left_out = left_out if energies is not None else (*left_out, NO_PAIRS)
    return temperatures, replace(
        found,
        temperatures=tuple(None if t is None else 1.0 for t in found.temperatures),
        quantiles=scaled.quantiles,
        ood_threshold=threshold,
        left_out=left_out,
    )


def ensemble_energies(parts: Sequence[Scores], validation: Sequence[Scores]) -> np.ndarray | None:
    """(N,) energies that the ensemble of K models has on images that none of them was trained on, by an estimate.

    No image is unseen by all. Two models were not trained on it: the one that has held it out, and the one whose epoch
    it chose with others. Their energies are shifted by the models' mean energies, and from the mean of two models to
    that of K: what models disagree on has a variance D in half the difference of two, and 2 D / K in the mean of K. The
    energy of mean probabilities exceeds the mean of energies, with several labels, by a term that is proportional to
    1 - 1 / K up to third orders, so for K models it is 2 (1 - 1 / K) of that of two.

    Args:
        parts, validation: as for :func:`decide_members`, calibrated.

    Returns:
        In the order of ``parts``; None where the images of a part are not those of a model's validation.
    """
    several, count = parts[0].multi_label, len(parts)
    means = [
        energy(np.concatenate([one.logits, other.logits]), several).mean() for one, other in zip(parts, validation)
    ]
    found, halves, excesses = [], [], []
    for k, part in enumerate(parts):
        same = [one.paths == part.paths and np.array_equal(one.truth, part.truth) for one in validation]
        if True not in same:
            return None
        other = same.index(True)
        pair = np.stack([part.logits, validation[other].logits])
        one, two = (energy(logits, several) for logits in pair)
        excesses.append(energy(mean_logits(torch.from_numpy(pair), several).numpy(), several) - (one + two) / 2)
        one, two = one - means[k], two - means[other]
        found.append((one + two) / 2)
        halves.append((one - two) / 2)
    centred, of_all, of_two = (
        np.concatenate(found),
        np.mean(np.concatenate(found) ** 2),
        np.mean(np.concatenate(halves) ** 2),
    )
    shrunk = np.sqrt(max(of_all - of_two + 2 * of_two / count, 0) / of_all) if of_all else 1
    return np.mean(means) + shrunk * centred + 2 * (1 - 1 / count) * np.concatenate(excesses)


def calibrated(scores: Scores, temperatures: Sequence[float]) -> Scores:
    """Return the scores with their logits divided by the temperatures."""
    logits = logits_of(scores) / np.asarray(temperatures)
    given = None if scores.logits is None else logits
    return replace(scores, scores=activate(logits, scores.multi_label), logits=given)


def out_of_fold(
    parts: Sequence[Scores],
    *,
    validation: Sequence[Scores] | None = None,
    operating_point: str | None = None,
    coverage: float = 0.9,
) -> OutOfFold:
    """Decide on each fold as the other folds' images say, and on energies as the model's own validation says.

    Args:
        parts, validation: as for :func:`decide_members`. Without validation, the threshold of energies is that of the
            fold's own images.

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
        own: list[str] = []
        unseen = part if validation is None else validation[i]
        decisions = replace(decisions, ood_threshold=ood_threshold(calibrated(unseen, temperatures), own))
        decided.append(decisions.apply_to(calibrated(part, temperatures)))
        undecided |= set(decisions.undecided)
        without_sets |= set(decisions.without_sets)
        sentences = [sentence for sentence in decisions.left_out if not sentence.startswith(NO_THRESHOLD)]
        left_out |= dict.fromkeys(f'Left out in fold {i}: {sentence}' for sentence in [*sentences, *own])
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
    if found.decided.ood is not None:
        caveats.append(
            'An image is marked as unlike the others where its energy by the model that has not seen it exceeds that '
            "model's own threshold, of the images that chose its epoch. The ensemble's threshold is of pairs of models "
            'that were not trained on an image.'
        )
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
