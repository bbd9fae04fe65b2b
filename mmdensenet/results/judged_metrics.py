"""Metrics of a report that are those of its judgement: one figure has one value and one interval on a page."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from mmdensenet.errors import UserError

from .bootstrap import Estimate
from .calibration import Calibration
from .class_metrics import ClassMetrics, Metric
from .judgement import Judgement

#: names of metrics, and those of the same figures in a judgement
OVERALL = {
    'accuracy': 'accuracy',
    'balanced accuracy': 'balanced accuracy',
    'label accuracy': 'label accuracy',
    'macro AUROC': 'macro AUROC',
    'macro average precision': 'macro AP',
}
OF_LABEL = {
    'recall': 'sensitivity',
    'specificity': 'specificity',
    'precision': 'PPV',
    'AUROC': 'AUROC',
    'average precision': 'AP',
}
#: of the first of two classes, by the figures of the second
OF_OTHER = {'recall': 'specificity', 'specificity': 'sensitivity', 'precision': 'NPV', 'AUROC': 'AUROC'}
#: between the same figure computed in two ways, as a share
ROUNDING = 1e-6


def judged_metrics(
    overall: Sequence[Metric], classes: Sequence[ClassMetrics], calibration: Calibration, judgement: Judgement
) -> tuple[list[Metric], list[ClassMetrics], Calibration]:
    """The metrics with the judgement's values and intervals, where it has the same figures.

    Raises:
        UserError: if it has other values: it is of other images, labels or decisions.
    """
    found = judgement.overall
    overall = [
        metric
        if OVERALL.get(metric.name) not in found
        else replace(metric, estimate=_judged(metric.estimate, found[OVERALL[metric.name]], metric.name))
        for metric in overall
    ]
    if len(judgement.labels) == len(classes):
        judged = [(each, OF_LABEL, label.figures) for each, label in zip(classes, judgement.labels)]
    else:
        [second] = judgement.labels
        judged = [(each, names, second.figures) for each, names in zip(classes, (OF_OTHER, OF_LABEL))]
    of_classes = [replace(each, metrics=_with(each, names, figures)) for each, names, figures in judged]
    calibration = replace(
        calibration,
        error=_judged(calibration.error, found['calibration error uncalibrated'], 'calibration error'),
        loss=_judged(calibration.loss, found['log loss uncalibrated'], 'log loss', 1),
        error_after=_judged(calibration.error_after, found['calibration error'], 'calibration error'),
        loss_after=_judged(calibration.loss_after, found['log loss'], 'log loss', 1),
    )
    return overall, of_classes, calibration


def _with(of_class: ClassMetrics, names: Mapping[str, str], figures: Mapping[str, Estimate]) -> dict[str, Estimate]:
    return {
        key: _judged(value, figures[names[key]], f'{key} of {of_class.name}') if key in names else value
        for key, value in of_class.metrics.items()
    }


def _judged(value: Estimate, judged: Estimate, name: str, factor: float = 100) -> Estimate:
    """The judgement's estimate in the metric's unit, of which a share of 1 is ``factor``."""
    same = math.isclose(value.value, factor * judged.value, rel_tol=ROUNDING, abs_tol=factor * ROUNDING)
    if not same and not (math.isnan(value.value) and math.isnan(judged.value)):
        raise UserError(
            f'judgement: {name} is {factor * judged.value:.6g} there and {value.value:.6g} of these images: it is of '
            'other images, labels or decisions.'
        )
    return Estimate(*(factor * each for each in (judged.value, judged.low, judged.high)))
