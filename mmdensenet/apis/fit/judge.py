"""Judge a model with its decisions on images that nothing was fitted on."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from mmdensenet.errors import UserError
from mmdensenet.results.bootstrap import CONFIDENCE
from mmdensenet.results.decided_figures import figures, figures_by_group
from mmdensenet.results.decisions import Decided, Decisions
from mmdensenet.results.judgement import Judgement, LabelJudgement, Subgroup
from mmdensenet.results.scores import Scores
from mmdensenet.results.subgroups import subgroups_of

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
        UserError: if there are no images, or classes, groups or subgroups are others than the images'.
    """
    if groups is not None:
        if len(groups) != len(scores):
            raise UserError(f'groups has {len(groups)} values for {len(scores)} images.')
        scores = replace(scores, groups=np.unique(np.asarray(groups), return_inverse=True)[1].ravel())
    decisions.require_names(scores.classes, 'the model')
    decided = decisions.apply_to(scores)
    caveats = [f'Temperature and thresholds were fitted on {decisions.samples:,} images of {decisions.part}.']
    if decisions.coverage is not None:
        caveats.append(
            f'The sets aim at {decisions.coverage:.0%}, which would be guaranteed only if {decisions.part} had not '
            'chosen the epoch, too: what counts is the coverage that is measured here.'
        )
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
    overall, labels = figures(scores, decided, **settings)
    parts, by_group = [], None
    for column, values in (subgroups or {}).items():
        for value, which in subgroups_of(values):
            taken = Decided(*(None if part is None else part[which] for part in vars(decided).values()))
            found, each = figures(scores.take(which), taken, curves=False, **settings)
            parts.append(Subgroup(column, value, int(which.sum()), found, each))
    groups = None if scores.groups is None else len(np.unique(scores.groups))
    if groups not in (None, len(scores)):
        by_group = figures_by_group(scores, decided, confidence, resamplings, seed)
    return Judgement(
        multi_label=scores.multi_label,
        images=len(scores),
        groups=groups,
        confidence=confidence,
        overall=overall,
        labels=labels,
        by_group=by_group,
        subgroups=parts,
        caveats=[*caveats, *_caveats(scores, labels, groups)],
    )


def facts_of(judgement: Judgement, resamplings: int, tested: str) -> dict[str, str]:
    """What a study states of the figures, by the names of :func:`mmdensenet.apis.study_facts.study_facts`.

    Args:
        tested: what the images are called.
    """
    of_labels = (name for label in judgement.labels for name in label.figures)
    what, rest = 'images', "shares such as sensitivity have Wilson's, and AUROC (DeLong) has DeLong's"
    if judgement.groups is not None:
        what = 'groups, such as patients,'
        rest = "shares of 0% and 100% have Wilson's of as many groups, and AUROC (DeLong) has that of clustered data"
    uncertainty = (
        f'{judgement.confidence:.0%} intervals: percentiles over {resamplings:,} resamplings of the {what} of the '
        f'{tested}; {rest}.'
    )
    return dict(
        performance=' '.join(judgement.lines()),
        metrics=f'{", ".join(dict.fromkeys([*judgement.overall, *of_labels]))}.',
        uncertainty=uncertainty,
        precision=uncertainty,
    )


def _caveats(scores: Scores, labels: list[LabelJudgement], groups: int | None) -> list[str]:
    said = []
    few = [label for label in labels if min(label.images, label.others) < ENOUGH]
    if few:
        worst = min(few, key=lambda label: min(label.images, label.others))
        name = 'sensitivity' if worst.images <= worst.others else 'specificity'
        low, high = worst.figures[name].low, worst.figures[name].high
        width = '' if np.isnan(low) else f' (its {name} may be anything from {low:.0%} to {high:.0%})'
        said.append(
            f'Of {len(few)} of {len(labels)} labels there are fewer than {ENOUGH} images with or without it, of '
            f'{worst.name} {worst.images} with and {worst.others} without{width}: the figures are rough, and '
            'differences inside their intervals mean nothing.'
        )
    if groups is None:
        said.append(
            'Every image is taken for itself: if several are of one patient or scene, the intervals are too narrow '
            '(name the column of groups).'
        )
    return said
