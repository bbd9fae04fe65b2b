"""mmdensenet.results.score_curves: few points with scikit-learn's areas under them."""

import numpy as np
import pytest
from made_scores import close, make, several, single
from sklearn import metrics as sklearn

from mmdensenet.analysis.report.plots import precision_recall_chart, roc_chart
from mmdensenet.results.bootstrap import Resampling
from mmdensenet.results.class_metrics import compute_metrics
from mmdensenet.results.score_curves import MOST_CLASSES, POINTS, SHOWN_OF_MANY, _thin, compute_curves


def test_curves():
    scores = single(images=3000)
    classes = compute_metrics(scores, Resampling(3000, count=0))[1]
    together, *each = compute_curves(scores, classes)
    assert [curve.name for curve in each] == scores.classes
    for i, curve in enumerate(each):
        assert len(curve.roc[0]) <= POINTS + 1
        assert [points[[0, -1]].tolist() for points in curve.roc] == [[0, 1], [0, 1]]
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


def test_points_are_evenly_spaced_along_the_curve():
    x = np.linspace(0, 1, 4001) ** 2
    found = np.array(_thin(x, np.sqrt(x)))
    steps = np.diff(found).sum(0)
    assert found[:, 0].tolist() == [0, 0] and found[:, -1].tolist() == [1, 1] and len(steps) < POINTS
    assert steps.min() > 1.8 / POINTS and steps.max() < 2.2 / POINTS


def test_what_is_not_known_is_in_no_curve():
    scores = several(400, unknown=0.3)
    for curve, score, truth in zip(compute_curves(scores, classes_of(scores))[1:], scores.scores.T, scores.truth.T):
        known = truth >= 0
        assert curve.auroc == pytest.approx(100 * sklearn.roc_auc_score(truth[known], score[known]))


def test_of_many_decisions_some_are_drawn_once(monkeypatch):
    scores = single(images=400)
    whole = compute_curves(scores, classes_of(scores))[0]
    monkeypatch.setattr('mmdensenet.results.score_curves.MOST_DECISIONS', scores.scores.size - 1)
    some = compute_curves(scores, classes_of(scores))[0]
    assert some.auroc != whole.auroc == pytest.approx(some.auroc, abs=0.2)


def classes_of(scores):
    return compute_metrics(scores, Resampling(len(scores), count=0))[1]


def test_curves_of_many_classes_and_of_none():
    scores = single(images=800, classes=MOST_CLASSES)
    assert len(compute_curves(scores, classes_of(scores))) == 1 + MOST_CLASSES
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
