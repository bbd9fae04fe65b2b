"""The report's section on a model's scores: metrics, classes, calibration, curves, confusion."""

import numpy as np

from mmdensenet.analysis.confusion import most_confused
from mmdensenet.results.bootstrap import Resampling
from mmdensenet.results.calibration import compute_calibration, stored_calibration
from mmdensenet.results.class_metrics import ClassMetrics, compute_metrics, count_confusions
from mmdensenet.results.judged_metrics import judged_metrics
from mmdensenet.results.judgement import Judgement
from mmdensenet.results.score_curves import compute_curves
from mmdensenet.results.scores import Scores
from mmdensenet.terminal import waiting

from . import plots

#: rows of the tables that are not collapsed
SHOWN_CLASSES, SHOWN_CONFUSIONS = 20, 15
#: wrongly predicted classes in the line of a true class
SHOWN_OTHERS = 3
CLASS_NOTE = (
    'Lowest F1 first. Recall is also called sensitivity, precision positive predictive value. Below each value its 95% '
    'interval; with fewer than 5 images of a kind there is none'
)


def results_section(
    plain: Scores, resampling: Resampling, seed: int, decided: Scores | None = None, judgement: Judgement | None = None
) -> dict:
    """Tables and charts by the names of the page's template.

    Args:
        plain: the scores as they are.
        decided: the same images as they are decided, which all is of then; ``judgement`` is of them, too.
    """
    scores = plain if decided is None else decided
    overall, classes = compute_metrics(scores, resampling)
    if decided is None:
        with waiting('fitting temperatures'):
            calibration = compute_calibration(scores, resampling, seed)
        error, loss = calibration.error, calibration.loss
    else:
        calibration = stored_calibration(plain, decided, resampling)
        overall, classes, calibration = judged_metrics(overall, classes, calibration, judgement)
        error, loss = calibration.error_after, calibration.loss_after
    with waiting('computing ROC and PR curves'):
        curves = compute_curves(scores, classes, seed)
    there = [each for each in classes if scores.multi_label or each.images]
    there.sort(key=lambda each: (np.isnan(each.metrics['F1'].value), each.metrics['F1'].value))
    kind = 'label' if scores.multi_label else 'class'
    defined = sum(bool(each.images and each.others) for each in classes)
    which = f'each {kind}' if len(curves) > defined else f'the {len(curves) - 1} with the lowest average precision'
    which = (
        which + ('' if scores.multi_label else ' against the rest')
        if defined
        else 'no single one, for none has images both with and without it'
    )
    content = dict(
        overall=overall,
        calibration=calibration,
        calibration_error=error,
        log_loss=loss,
        is_decided=decided is not None,
        undecided=scores.undecided,
        metric_names=list(classes[0].metrics),
        worst=there[:SHOWN_CLASSES],
        rest=there[SHOWN_CLASSES:],
        not_there=[each.name for each in classes if each not in there],
        class_note=CLASS_NOTE
        + ('.' if decided is None else " but Wilson's.")
        + ('' if scores.multi_label else ' Specificity, AUROC and average precision: one class against the rest.'),
        tables=[each for each in classes if each.table is not None],
        reliability=plots.reliability_chart(
            calibration.before,
            calibration.after,
            scores.multi_label,
            *([] if decided is None else ['with the temperature in use']),
        ),
        score_counts=plots.count_chart(calibration.before if decided is None else calibration.after),
        has_curves=bool(curves),
        curves_note=f'All decisions together, and {which}. In brackets what is under the curve: AUROC, and average '
        'precision, in percent.',
        roc=plots.roc_chart(curves),
        precision_recall=plots.precision_recall_chart(curves),
        class_counts=plots.class_count_chart((scores.targets == 1).sum(0), scores.classes, kind),
        confusion=None,
        confused=None,
        together=1,
        predicted_as=None,
    )
    if not scores.multi_label:
        matrix = count_confusions(scores.truth, scores.predicted, len(scores.classes))
        content['confusion'], content['together'] = plots.confusion_chart(matrix, scores.classes)
        content['confused'] = _most_confused(matrix, classes)
        if content['together'] == 1:
            content['predicted_as'] = [_predicted_as(matrix, classes, true) for true in np.flatnonzero(matrix.sum(1))]
    return content


def _predicted_as(matrix: np.ndarray, classes: list[ClassMetrics], true: int) -> tuple[str, float, str]:
    """A class, the percentage that is right, and the most frequent wrong predictions."""
    row = matrix[true]
    order = [other for other in np.argsort(-row, kind='stable') if other != true and row[other]]
    most = [f'{classes[other].name} ({row[other]:,})' for other in order[:SHOWN_OTHERS]]
    if len(order) > SHOWN_OTHERS:
        most.append(f'others ({row[order[SHOWN_OTHERS:]].sum():,})')
    return classes[true].name, 100 * row[true] / row.sum(), ', '.join(most)


def _most_confused(matrix: np.ndarray, classes: list[ClassMetrics]) -> list[tuple[str, str, int, float]]:
    pairs = most_confused(matrix, SHOWN_CONFUSIONS + 1)
    if len(pairs) > SHOWN_CONFUSIONS:  # of confusions with one image, the choice would be arbitrary
        pairs = [pair for pair in pairs[:SHOWN_CONFUSIONS] if pair[2] > 1]
    return [
        (classes[true].name, classes[predicted].name, images, 100 * images / classes[true].images)
        for true, predicted, images in pairs
    ]
