"""The figures of decisions on images with true labels."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from .bootstrap import CONFIDENCE, Estimate, Resampling, divide, estimate, mean_of_labels, nan_mean
from .calibration import calibration_error, logits_of, mean_log_loss
from .class_metrics import FEWEST_IMAGES, rank_classes
from .decisions import Decided
from .delong import delong
from .judgement import LabelJudgement
from .net_benefit import decision_curve
from .proportions import share, share_of_counts
from .scores import Scores


def figures(
    scores: Scores,
    decided: Decided,
    undecided: Sequence[str] = (),
    without_sets: Sequence[str] = (),
    confidence: float = CONFIDENCE,
    resamplings: int = 0,
    seed: int = 0,
    curves: bool = True,
) -> tuple[dict[str, Estimate], list[LabelJudgement]]:
    """The figures overall and of each label; :class:`.judgement.Judgement` lists their names.

    Args:
        undecided: names of labels without an operating point.
        without_sets: names of labels without a conformal quantile.
        curves: compute decision curves too.
    """
    resampling = Resampling(len(scores), scores.groups, resamplings, seed)
    calibrated = replace(scores, scores=decided.probabilities)
    truth, targets = scores.truth, np.where(np.isin(scores.targets, (0, 1)), scores.targets, -1)
    known, present = targets >= 0, targets == 1
    ranks = _ranks(calibrated, resampling)
    right, all_of = decided.positive == present, np.ones(len(scores), bool)

    def mean(hits: np.ndarray, of: np.ndarray | None = None) -> Estimate:
        total = len(hits) if of is None else of.sum()
        return estimate(hits.sum() / total if total else np.nan, resampling.mean(hits, of), confidence)

    def rate(hits: np.ndarray, of: np.ndarray) -> Estimate:
        return share_of_counts(hits, of, resampling, scores.groups, confidence)

    overall = {}
    for name, (values, drawn) in ranks.items():
        macro = (nan_mean(values, 0), None) if drawn is None else mean_of_labels(values, drawn)
        overall[f'macro {name}'] = estimate(*macro, confidence)
    if scores.multi_label:
        which = known & ~np.isin(scores.classes, list(undecided))
        overall['label accuracy'] = rate((right & which).sum(1), which.sum(1))
    else:
        hit = decided.positive[np.arange(len(scores)), truth]
        overall['accuracy'] = share(hit, all_of, resampling, scores.groups, confidence)
        hits = hit[:, None] & present
        recall = mean_of_labels(divide(hits.sum(0), present.sum(0)), resampling.mean(hits, present))
        overall['balanced accuracy'] = estimate(*recall, confidence)
    plain = logits_of(scores)
    for name, probabilities in (('', decided.probabilities), (' uncalibrated', scores.scores)):
        squares = _squares(probabilities, targets, scores.multi_label)
        overall[f'Brier{name}'] = mean(squares.sum(1), known.sum(1) if scores.multi_label else None)
        found = calibration_error(scores, probabilities, resampling, confidence)
        overall[f'calibration error{name}'] = Estimate(found.value / 100, found.low / 100, found.high / 100)
    overall['log loss'] = mean_log_loss(scores, decided.logits, resampling, confidence)
    overall['log loss uncalibrated'] = mean_log_loss(scores, plain, resampling, confidence)
    if decided.sets is not None:
        has_set = ~np.isin(scores.classes, list(without_sets))
        overall['coverage'] = rate((decided.sets & present).sum(1), (present & has_set).sum(1))
        overall['set size'] = mean(decided.sets.sum(1))
        overall['empty sets'] = share(~decided.sets.any(1), all_of, resampling, scores.groups, confidence)
    if decided.ood is not None:
        overall['out of distribution'] = share(decided.ood, all_of, resampling, scores.groups, confidence)

    squares = _squares(decided.probabilities, targets, True)
    brier, briers = divide(squares.sum(0), known.sum(0)), resampling.mean(squares, known)
    labels = []
    for i in [1] if len(scores.classes) == 2 and not scores.multi_label else range(len(scores.classes)):
        yes, no, called = present[:, i], known[:, i] & ~present[:, i], decided.positive[:, i]
        few = min(yes.sum(), no.sum()) < FEWEST_IMAGES
        values_of = _of_label(ranks, i, few, confidence)
        values_of['AUROC (DeLong)'] = delong(decided.probabilities[:, i], targets[:, i], scores.groups, confidence)
        nothing = scores.classes[i] in undecided
        for name, hits, of in (
            ('sensitivity', called, yes),
            ('specificity', ~called, no),
            ('PPV', yes, called & known[:, i]),
            ('NPV', no, ~called & known[:, i]),
        ):
            values_of[name] = (
                Estimate(float('nan')) if nothing else share(hits, of, resampling, scores.groups, confidence)
            )
        values_of['Brier'] = estimate(brier[i], briers[:, i], confidence)
        if decided.sets is not None and scores.classes[i] not in without_sets:
            values_of['coverage'] = share(decided.sets[:, i], yes, resampling, scores.groups, confidence)
        curve = decision_curve(decided.probabilities[:, i], targets[:, i]) if curves else None
        labels.append(LabelJudgement(scores.classes[i], int(yes.sum()), int(no.sum()), values_of, curve))
    return overall, labels


def _squares(probabilities: np.ndarray, targets: np.ndarray, each: bool) -> np.ndarray:
    """(N, C) squared differences of probabilities and known targets; of two classes only the second's (Brier)."""
    squares = np.where(targets >= 0, (probabilities - targets) ** 2, 0)
    return squares[:, 1:] if squares.shape[1] == 2 and not each else squares


def _ranks(scores: Scores, resampling: Resampling) -> dict[str, tuple[np.ndarray, np.ndarray | None]]:
    """:func:`.class_metrics.rank_classes` as shares of 1, 'AUROC' and 'AP'."""
    found = rank_classes(scores, resampling)
    named = {'AUROC': found['AUROC'], 'AP': found['average precision']}
    return {name: (values / 100, None if drawn is None else drawn / 100) for name, (values, drawn) in named.items()}


def _of_label(ranks: dict, label: int, few: bool, confidence: float) -> dict[str, Estimate]:
    return {
        name: estimate(values[label], None if few or drawn is None else drawn[:, label], confidence)
        for name, (values, drawn) in ranks.items()
    }


def figures_by_group(
    scores: Scores, decided: Decided, confidence: float, resamplings: int, seed: int
) -> list[LabelJudgement]:
    """The figures of groups instead of images: the mean probability, and whether any image has the label.

    They omit images with an unknown label, and groups of only such images.
    """
    group = np.unique(scores.groups, return_inverse=True)[1].ravel()
    count = int(group.max()) + 1
    targets = scores.targets
    found = []
    for i in [1] if len(scores.classes) == 2 and not scores.multi_label else range(len(scores.classes)):
        known = np.isin(targets[:, i], (0, 1))
        images = np.bincount(group[known], minlength=count)
        mean = np.bincount(group[known], decided.probabilities[known, i], count) / np.maximum(images, 1)
        has = np.bincount(group[known], targets[known, i], count) > 0
        target = np.where(images > 0, has, -1)
        one = Scores(mean[:, None], target[:, None], np.arange(count), [''] * count, [scores.classes[i]])
        yes, no = int((target == 1).sum()), int((target == 0).sum())
        ranks = _ranks(one, Resampling(count, None, resamplings, seed))
        values_of = _of_label(ranks, 0, min(yes, no) < FEWEST_IMAGES, confidence)
        found.append(LabelJudgement(scores.classes[i], yes, no, values_of))
    return found
