"""mmdensenet.results.score_curves: few points with scikit-learn's areas under them."""

import numpy as np
import pytest
from made_scores import close, make, single
from sklearn import metrics as sklearn

from mmdensenet.analysis.report.plots import precision_recall_chart, roc_chart
from mmdensenet.results.bootstrap import Resampling
from mmdensenet.results.class_metrics import compute_metrics
from mmdensenet.results.score_curves import MOST_CLASSES, POINTS, SHOWN_OF_MANY, compute_curves


def test_curves():
    scores = single(images=3000)
    classes = compute_metrics(scores, Resampling(3000, count=0))[1]
    together, *each = compute_curves(scores, classes)
    assert [curve.name for curve in each] == scores.classes
    for i, curve in enumerate(each):
        assert len(curve.roc[0]) <= POINTS + 1
        assert np.trapezoid(curve.roc[1], curve.roc[0]) == pytest.approx(
            sklearn.roc_auc_score(scores.truth == i, scores.scores[:, i]), abs=2e-3
        )
        for name, value in (('AUROC', curve.auroc), ('average precision', curve.average_precision)):
            assert close(value, classes[i].metrics[name].value), name
        assert (np.diff(curve.pr[0]) >= 0).all(), 'recall rises'
        assert curve.pr[0][-1] == 1 and curve.pr[1][-1] == pytest.approx((scores.truth == i).mean())
    area = sklearn.roc_auc_score(scores.targets.ravel(), scores.scores.ravel())
    assert np.trapezoid(together.roc[1], together.roc[0]) == pytest.approx(area, abs=2e-3)
    assert f'class 1 ({each[1].auroc:.1f})' in roc_chart([together, *each])
    assert f'class 1 ({each[1].average_precision:.1f})' in precision_recall_chart([together, *each])


def test_curves_of_many_classes_and_of_none():
    scores = single(images=800, classes=MOST_CLASSES + 5)
    classes = compute_metrics(scores, Resampling(800, count=0))[1]
    curves = compute_curves(scores, classes)
    assert len(curves) == 1 + SHOWN_OF_MANY
    shown = {curve.name for curve in curves[1:]}
    others = [each.metrics['average precision'].value for each in classes if each.name not in shown]
    assert max(each.metrics['average precision'].value for each in classes if each.name in shown) <= min(others)
    scores.truth = (
        scores.truth % 5 + 10
    )  # the other classes, of which there are no images, have no curve and take no place
    classes = compute_metrics(scores, Resampling(800, count=0))[1]
    assert [curve.name for curve in compute_curves(scores, classes)[1:]] == scores.classes[10:]
    unknown = make(np.full((4, 2), 0.5), np.array([[1, -1]] * 4, float))
    assert compute_curves(unknown, compute_metrics(unknown, Resampling(4, count=0))[1]) == []
