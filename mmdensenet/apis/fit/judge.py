"""Judge a model with its decisions on images that nothing was fitted on."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from mmdensenet.errors import UserError
from mmdensenet.results.bootstrap import CONFIDENCE, Estimate, Resampling, estimate, nan_mean
from mmdensenet.results.calibration import calibration_error, logits_of, mean_log_loss
from mmdensenet.results.class_metrics import FEWEST_IMAGES, rank_classes
from mmdensenet.results.decisions import Decided, Decisions
from mmdensenet.results.delong import delong
from mmdensenet.results.judgement import Judgement, LabelJudgement, Subgroup
from mmdensenet.results.net_benefit import decision_curve
from mmdensenet.results.proportions import share
from mmdensenet.results.scores import Scores, join_scores
from mmdensenet.results.subgroups import subgroups_of

from .decide import decide

RESAMPLINGS = 1000
#: fewer images with or without a label: the caveat says so (Collins et al., doi:10.1002/sim.6787)
ENOUGH = 100


def judge(
    scores: Scores,
    decisions: Decisions,
    *,
    groups: np.ndarray | None = None,
    subgroups: Mapping[str, Sequence] | None = None,
    confidence: float = CONFIDENCE,
    resamplings: int = RESAMPLINGS,
    seed: int = 0,
) -> Judgement:
    """The figures on the test part, which is looked at once.

    Args:
        scores: of the test part.
        decisions: of validation images.
        groups: (N,) of what is resampled together, such as patients; by default those of ``scores``.
        subgroups: values (N,) by the name of their column; numbers with more than ten values are taken by quarters.
        confidence: of the intervals.
        resamplings, seed: of the images or groups.

    Raises:
        UserError: if there are no images, or groups or subgroups are of other images.
    """
    if groups is not None:
        if len(groups) != len(scores):
            raise UserError(f'groups has {len(groups)} values for {len(scores)} images.')
        scores = replace(scores, groups=np.unique(np.asarray(groups), return_inverse=True)[1].ravel())
    decided = decisions.apply(logits_of(scores))
    caveats = [f'Temperature and thresholds were fitted on {decisions.samples:,} images of {decisions.part}.']
    caveats += [f'Left out: {sentence}' for sentence in decisions.left_out]
    return judge_decided(
        scores,
        decided,
        undecided=decisions.undecided,
        without_sets=decisions.without_sets,
        subgroups=subgroups,
        confidence=confidence,
        resamplings=resamplings,
        seed=seed,
        caveats=caveats,
    )


def judge_decided(
    scores: Scores,
    decided: Decided,
    *,
    undecided: Sequence[str] = (),
    without_sets: Sequence[str] = (),
    subgroups: Mapping[str, Sequence] | None = None,
    confidence: float = CONFIDENCE,
    resamplings: int = RESAMPLINGS,
    seed: int = 0,
    caveats: Sequence[str] = (),
) -> Judgement:
    """:func:`judge` of what has been decided already, as by several models.

    Args:
        undecided: names of labels without an operating point; ``without_sets`` of those without a conformal quantile.
        caveats: sentences that come first.
    """
    if not len(scores):
        raise UserError('there are no images to judge.')
    for column, values in (subgroups or {}).items():
        if len(values) != len(scores):
            raise UserError(f'subgroups: {column!r} has {len(values)} values for {len(scores)} images.')
    settings = dict(confidence=confidence, resamplings=resamplings, seed=seed)
    settings |= dict(undecided=undecided, without_sets=without_sets)
    overall, labels = _figures(scores, decided, **settings)
    parts = []
    for column, values in (subgroups or {}).items():
        for value, which in subgroups_of(values):
            found, each = _figures(scores.take(which), _take(decided, which), curves=False, **settings)
            parts.append(Subgroup(column, value, int(which.sum()), found, each))
    groups = None if scores.groups is None else len(np.unique(scores.groups))
    return Judgement(
        multi_label=scores.multi_label,
        images=len(scores),
        groups=groups,
        confidence=confidence,
        overall=overall,
        labels=labels,
        by_group=None if groups in (None, len(scores)) else _by_group(scores, decided, confidence, resamplings, seed),
        subgroups=parts,
        caveats=[*caveats, *_caveats(scores, labels, groups)],
    )


def judge_folds(
    parts: Sequence[Scores], *, operating_point: str | None = None, coverage: float = 0.9, **settings
) -> Judgement:
    """Out-of-fold figures: of each fold's held-out images by its own model, decided as the other folds' images say.

    Neither the model nor the decisions have seen the image that they are judged on.

    Args:
        parts: the scores of each fold's model on the images that it has held out.
        operating_point, coverage: see :func:`.decide.decide`.
        settings: of :func:`judge_decided`; groups are those of the parts.

    Raises:
        UserError: if there are fewer than two folds, or their classes differ.
    """
    if len(parts) < 2:
        raise UserError(f'out-of-fold figures need two folds or more, not {len(parts)}.')
    together, left_out = [], {}
    undecided, without_sets = set(), set()
    for i, part in enumerate(parts):
        others = join_scores([other for j, other in enumerate(parts) if j != i])
        decisions = decide(others, operating_point=operating_point, coverage=coverage, part='the other folds')
        together.append(decisions.apply(logits_of(part)))
        undecided |= set(decisions.undecided)
        without_sets |= set(decisions.without_sets)
        left_out |= dict.fromkeys(f'Left out in fold {i + 1}: {sentence}' for sentence in decisions.left_out)
    caveats = [f'Out-of-fold figures of {len(parts)} models; temperature and thresholds are those of the other folds.']
    return judge_decided(
        join_scores(parts),
        _join(together),
        undecided=sorted(undecided),
        without_sets=sorted(without_sets),
        caveats=[*caveats, *left_out],
        **settings,
    )


def _join(parts: Sequence[Decided]) -> Decided:
    columns = zip(*(vars(part).values() for part in parts))
    return Decided(*(None if any(c is None for c in column) else np.concatenate(column) for column in columns))


def _take(decided: Decided, which: np.ndarray) -> Decided:
    return Decided(*(None if part is None else part[which] for part in vars(decided).values()))


def _figures(
    scores: Scores,
    decided: Decided,
    undecided: Sequence[str],
    without_sets: Sequence[str],
    confidence: float,
    resamplings: int,
    seed: int,
    curves: bool = True,
) -> tuple[dict[str, Estimate], list[LabelJudgement]]:
    """Overall, and of each label."""
    resampling = Resampling(len(scores), scores.groups, resamplings, seed)
    calibrated = replace(scores, scores=decided.probabilities)
    truth, targets = scores.truth, np.where(np.isin(scores.targets, (0, 1)), scores.targets, -1)
    known, present = targets >= 0, targets == 1
    ranks = {
        name: (values / 100, None if drawn is None else drawn / 100)
        for name, (values, drawn) in rank_classes(calibrated, resampling).items()
    }
    names = {'AUROC': 'AUROC', 'AP': 'average precision'}
    right = decided.positive == present

    def mean(hits: np.ndarray, of: np.ndarray | None = None) -> Estimate:
        total = len(hits) if of is None else of.sum()
        return estimate(hits.sum() / total if total else np.nan, resampling.mean(hits, of), confidence)

    overall = {}
    for name, key in names.items():
        values, drawn = ranks[key]
        overall[f'macro {name}'] = estimate(
            nan_mean(values, 0), None if drawn is None else nan_mean(drawn, 1), confidence
        )
    if scores.multi_label:
        which = known & ~np.isin(scores.classes, list(undecided))
        overall['label accuracy'] = mean((right & which).sum(1), which.sum(1))
    else:
        hit = decided.positive[np.arange(len(scores)), truth]
        overall['accuracy'] = share(hit, np.ones(len(scores), bool), resampling, scores.groups, confidence)
        recalls = [resampling.mean(hit & present[:, i], present[:, i]) for i in range(len(scores.classes))]
        each = [hit[column].mean() if column.any() else np.nan for column in present.T]
        overall['balanced accuracy'] = estimate(nan_mean(np.array(each), 0), nan_mean(np.stack(recalls), 0), confidence)
    plain = logits_of(scores)
    for name, probabilities in (('', decided.probabilities), (' uncalibrated', scores.scores)):
        squares = _squares(probabilities, targets, scores.multi_label)
        overall[f'Brier{name}'] = mean(squares.sum(1), known.sum(1) if scores.multi_label else None)
        found = calibration_error(scores, probabilities, resampling, confidence)
        overall[f'calibration error{name}'] = Estimate(found.value / 100, found.low / 100, found.high / 100)
    overall['log loss'] = mean_log_loss(scores, _logs(decided.probabilities, scores), resampling, confidence)
    overall['log loss uncalibrated'] = mean_log_loss(scores, plain, resampling, confidence)
    if decided.sets is not None:
        has_set = ~np.isin(scores.classes, list(without_sets))
        overall['coverage'] = mean((decided.sets & present).sum(1), (present & has_set).sum(1))
        overall['set size'] = mean(decided.sets.sum(1))
        overall['empty sets'] = mean(~decided.sets.any(1))
    if decided.ood is not None:
        overall['out of distribution'] = mean(decided.ood)

    labels = []
    for i in [1] if len(scores.classes) == 2 and not scores.multi_label else range(len(scores.classes)):
        yes, no, called = present[:, i], known[:, i] & ~present[:, i], decided.positive[:, i]
        few = min(yes.sum(), no.sum()) < FEWEST_IMAGES
        figures = {}
        for name, key in names.items():
            values, drawn = ranks[key]
            figures[name] = estimate(values[i], None if few or drawn is None else drawn[:, i], confidence)
        figures['AUROC (DeLong)'] = delong(decided.probabilities[:, i], targets[:, i], scores.groups, confidence)
        nothing = scores.classes[i] in undecided
        for name, hits, of in (
            ('sensitivity', called, yes),
            ('specificity', ~called, no),
            ('PPV', yes, called & known[:, i]),
            ('NPV', no, ~called & known[:, i]),
        ):
            figures[name] = (
                Estimate(float('nan')) if nothing else share(hits, of, resampling, scores.groups, confidence)
            )
        figures['Brier'] = mean(_squares(decided.probabilities, targets, True)[:, i], known[:, i])
        if decided.sets is not None and scores.classes[i] not in without_sets:
            figures['coverage'] = share(decided.sets[:, i], yes, resampling, scores.groups, confidence)
        curve = decision_curve(decided.probabilities[:, i], targets[:, i]) if curves else None
        labels.append(LabelJudgement(scores.classes[i], int(yes.sum()), int(no.sum()), figures, curve))
    return overall, labels


def _squares(probabilities: np.ndarray, targets: np.ndarray, each: bool) -> np.ndarray:
    """(N, C) squared distances of probabilities and known targets, of two classes the second's only (Brier)."""
    squares = np.where(targets >= 0, (probabilities - targets) ** 2, 0)
    return squares[:, 1:] if squares.shape[1] == 2 and not each else squares


def _logs(probabilities: np.ndarray, scores: Scores) -> np.ndarray:
    return logits_of(replace(scores, scores=probabilities, logits=None))


def _by_group(scores: Scores, decided: Decided, confidence: float, resamplings: int, seed: int) -> list[LabelJudgement]:
    """Groups in the place of images: the mean probability, and whether any image has the label.

    A group without a known label is left out, as is an image whose label is not known.
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
        ranks = rank_classes(one, Resampling(count, None, resamplings, seed))
        yes, no = int((target == 1).sum()), int((target == 0).sum())
        figures = {}
        for name, key in (('AUROC', 'AUROC'), ('AP', 'average precision')):
            values, drawn = ranks[key]
            few = min(yes, no) < FEWEST_IMAGES or drawn is None
            figures[name] = estimate(values[0] / 100, None if few else drawn[:, 0] / 100, confidence)
        found.append(LabelJudgement(scores.classes[i], yes, no, figures))
    return found


def _caveats(scores: Scores, labels: list[LabelJudgement], groups: int | None) -> list[str]:
    said = []
    few = [label for label in labels if min(label.images, label.others) < ENOUGH]
    if few:
        worst = min(few, key=lambda label: min(label.images, label.others))
        low, high = worst.figures['sensitivity'].low, worst.figures['sensitivity'].high
        width = '' if np.isnan(low) else f' (its sensitivity may be anything from {low:.0%} to {high:.0%})'
        said.append(
            f'{len(few)} of {len(labels)} labels have fewer than {ENOUGH} images with or without them, {worst.name} '
            f'{worst.images} with and {worst.others} without{width}: the figures are rough, and differences inside '
            'their intervals mean nothing.'
        )
    if groups is None:
        said.append(
            'Every image is taken for itself: if several are of one patient or scene, the intervals are too narrow '
            '(name the column of groups).'
        )
    return said
