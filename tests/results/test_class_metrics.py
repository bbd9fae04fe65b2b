"""The report's numbers against scikit-learn's, its intervals against resampled images, one after another."""

import json

import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn import metrics as sklearn

from mmdensenet.analysis.report.gallery import find_mistakes
from mmdensenet.analysis.report.plots import precision_recall_chart, roc_chart
from mmdensenet.errors import UserError
from mmdensenet.results import class_metrics as report_metrics
from mmdensenet.results.bootstrap import Resampling, estimate
from mmdensenet.results.calibration import calibrate, fit_temperature
from mmdensenet.results.class_metrics import compute_metrics, count_confusions
from mmdensenet.results.score_curves import MOST_CLASSES, POINTS, SHOWN_OF_MANY, compute_curves
from mmdensenet.results.scores import Scores, read_scores


def single(images=300, classes=4, seed=0, factor=1.0, **more) -> Scores:
    """Labels drawn from the softmax of random logits; the scores are those of ``factor`` times the logits."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(images, classes))
    shares = softmax(logits, axis=1).cumsum(1)
    truth = (rng.random((images, 1)) > shares).sum(1).clip(max=classes - 1)
    return make(softmax(factor * logits, axis=1), truth, **more)


def several(images=300, labels=3, seed=0, factor=1.0, unknown=0.2) -> Scores:
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(images, labels))
    truth = (rng.random((images, labels)) < expit(logits)).astype(float)
    truth[rng.random((images, labels)) < unknown] = -1
    return make(expit(factor * logits), truth)


def make(scores, truth, **more) -> Scores:
    count = len(scores)
    names = [f'class {i}' for i in range(scores.shape[1])]
    return Scores(scores, truth, np.arange(count), [''] * count, names, **more)


def by_name(overall) -> dict:
    return {metric.name: metric.estimate for metric in overall}


@pytest.mark.parametrize(('positive', 'negative'), [(4, 60), (60, 4), (5, 60), (60, 5)])
def test_an_interval_needs_images_of_both_kinds(positive, negative):
    rng = np.random.default_rng(0)
    truth = np.repeat([1.0, 0.0], [positive, negative])
    both = np.stack([truth, np.arange(len(truth)) % 2], 1)
    _, classes = compute_metrics(make(rng.random(both.shape), both), Resampling(len(truth), count=100))
    told = [not np.isnan(each.metrics['AUROC'].low) for each in classes]
    assert told == [min(positive, negative) >= 5, True]


def close(left: float, right: float) -> bool:
    return left == pytest.approx(right, rel=1e-5, nan_ok=True)


def test_overall_is_scikit_learns():
    scores = single(classes=7)
    found = by_name(compute_metrics(scores, Resampling(len(scores), count=5))[0])
    truth, said, onehot = scores.truth, scores.predicted, scores.targets
    assert close(found['top-1 accuracy'].value, 100 * sklearn.accuracy_score(truth, said))
    assert close(found['top-5 accuracy'].value, 100 * sklearn.top_k_accuracy_score(truth, scores.scores, k=5))
    assert close(found['balanced accuracy'].value, 100 * sklearn.balanced_accuracy_score(truth, said))
    assert close(found["Cohen's kappa"].value, sklearn.cohen_kappa_score(truth, said))
    assert close(found['macro F1'].value, 100 * sklearn.f1_score(truth, said, average='macro'))
    assert close(found['macro AUROC'].value, 100 * sklearn.roc_auc_score(onehot, scores.scores))
    expected = sklearn.average_precision_score(onehot, scores.scores, average='macro')
    assert close(found['macro average precision'].value, 100 * expected)


def test_intervals_are_those_of_resampled_images():
    """Every resampling as images that are there several times, through scikit-learn."""
    scores, resampling = single(images=120), Resampling(120, count=40, seed=3)
    overall, classes = compute_metrics(scores, resampling)
    names = ('top-1 accuracy', 'macro F1', 'balanced accuracy', "Cohen's kappa")
    drawn = {name: [] for name in (*names, 'recall', 'specificity', 'precision', 'AUROC')}
    for row in resampling.weights:
        some = np.repeat(np.arange(120), row.astype(int))
        assert len(some) == 120
        truth, said = scores.truth[some], scores.predicted[some]
        drawn['top-1 accuracy'].append(sklearn.accuracy_score(truth, said))
        drawn['macro F1'].append(sklearn.f1_score(truth, said, average='macro'))
        drawn['balanced accuracy'].append(sklearn.balanced_accuracy_score(truth, said))
        drawn["Cohen's kappa"].append(sklearn.cohen_kappa_score(truth, said) / 100)  # no percent
        drawn['recall'].append(sklearn.recall_score(truth == 1, said == 1))
        drawn['specificity'].append(sklearn.recall_score(truth == 1, said == 1, pos_label=0))
        drawn['precision'].append(sklearn.precision_score(truth == 1, said == 1))
        drawn['AUROC'].append(sklearn.roc_auc_score(truth == 1, scores.scores[some, 1]))
    for name, values in drawn.items():
        found = by_name(overall).get(name) or classes[1].metrics[name]
        low, high = np.percentile(100 * np.array(values), [2.5, 97.5])
        assert close(found.low, low) and close(found.high, high), name
        assert found.low < found.value < found.high


def test_groups_are_drawn_together():
    groups = np.repeat(np.arange(10), 12)
    weights = Resampling(120, groups, count=20).weights
    assert (weights.reshape(20, 10, 12) == weights[:, ::12, None]).all()
    assert (weights.sum(1) == 120).all()
    scores = single(images=120)
    # all images of a group are alike: there are ten, not 120
    alike = make(scores.scores[::12].repeat(12, 0), scores.truth[::12].repeat(12), groups=groups)
    wide = by_name(compute_metrics(alike, Resampling(120, groups))[0])['top-1 accuracy']
    narrow = by_name(compute_metrics(alike, Resampling(120))[0])['top-1 accuracy']
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)


def test_labels_with_unknown_ones():
    scores = several()
    overall, labels = compute_metrics(scores, Resampling(len(scores), count=50))
    for i, label in enumerate(labels):
        known = scores.truth[:, i] >= 0
        truth, score = scores.truth[known, i], scores.scores[known, i]
        said = score >= 0.5
        assert (label.images, label.others, label.predicted) == (truth.sum(), (1 - truth).sum(), said.sum())
        matrix = sklearn.confusion_matrix(truth, said)
        assert label.table == ((matrix[1, 1], matrix[1, 0]), (matrix[0, 1], matrix[0, 0]))
        expected = {
            'precision': sklearn.precision_score(truth, said),
            'recall': sklearn.recall_score(truth, said),
            'specificity': sklearn.recall_score(truth, said, pos_label=0),
            'F1': sklearn.f1_score(truth, said),
            'AUROC': sklearn.roc_auc_score(truth, score),
            'average precision': sklearn.average_precision_score(truth, score),
        }
        assert list(label.metrics) == list(expected)
        for name, value in expected.items():
            found = label.metrics[name]
            assert close(found.value, 100 * value), name
            assert found.low < found.value < found.high
    known = scores.truth >= 0
    right = (scores.predicted == scores.truth)[known].mean()
    assert close(by_name(overall)['label accuracy'].value, 100 * right)


def test_classes_without_images_and_with_few():
    scores = single(images=60, classes=5)
    scores.truth[scores.truth == 3] = 2
    few = np.flatnonzero(scores.truth == 4)
    scores.truth[few[2:]] = 0
    overall, classes = compute_metrics(scores, Resampling(60, count=30))
    assert classes[3].images == 0
    assert all(np.isnan(classes[3].metrics[name].value) for name in ('recall', 'F1', 'AUROC', 'average precision'))
    assert classes[4].images == 2 and np.isnan(classes[4].metrics['recall'].low), 'two images give no interval'
    there = [i for i in range(5) if i != 3]
    recalls = [np.mean(scores.predicted[scores.truth == i] == i) for i in there]
    assert close(by_name(overall)['balanced accuracy'].value, 100 * np.mean(recalls))


def test_one_image_per_class():
    """No interval of a mean over classes: most resamplings lack many of them."""
    rng = np.random.default_rng(0)
    scores = make(softmax(rng.normal(size=(40, 40)), axis=1), np.arange(40))
    found = by_name(compute_metrics(scores, Resampling(40, count=200))[0])
    assert not np.isnan(found['macro AUROC'].value) and np.isnan(found['macro AUROC'].low)
    assert np.isnan(found['balanced accuracy'].low) and not np.isnan(found['top-1 accuracy'].low)


def test_ranking_without_time_for_intervals(monkeypatch):
    monkeypatch.setattr(report_metrics, 'RANKING_BUDGET', 1000)
    found = by_name(compute_metrics(single(), Resampling(300, count=50))[0])
    assert np.isnan(found['macro AUROC'].low) and not np.isnan(found['macro F1'].low)


def test_confusion():
    scores = single(classes=5)
    expected = sklearn.confusion_matrix(scores.truth, scores.predicted, labels=range(5))
    assert (count_confusions(scores.truth, scores.predicted, 5) == expected).all()


def test_without_resamplings():
    found = by_name(compute_metrics(single(), Resampling(300, count=0))[0])
    assert all(np.isnan(value.low) and not np.isnan(value.value) for value in found.values())


def test_estimate():
    found = estimate(3.0, np.array([1.0, 2.0, np.nan, 4.0]))
    low, high = np.percentile([1, 2, 4], [2.5, 97.5])
    assert (found.low, found.high) == (low, high)
    assert np.isnan(estimate(3.0, np.array([np.nan])).low)


def test_calibration_error_by_hand():
    """Scores 0.9 (three of four right) and 0.6 (one of two): (4 * 0.15 + 2 * 0.1) / 6."""
    first = np.array([0.9, 0.9, 0.9, 0.9, 0.6, 0.6])
    scores = make(np.stack([first, 1 - first], 1), np.array([0, 0, 0, 1, 0, 1]))
    found = calibrate(scores, Resampling(6, count=100))
    assert close(found.error.value, 100 * (4 * 0.15 + 2 * 0.1) / 6)
    assert close(found.loss.value, sklearn.log_loss(scores.truth, scores.scores))
    assert found.temperatures is None, 'six images are too few'
    assert found.before.count.sum() == 6 and found.before.accuracy[13] == 0.75


@pytest.mark.parametrize('data', [single, several])
def test_temperature(data):
    """Logits that are 2.5 times too large need a temperature of 2.5."""
    scores = data(images=4000, factor=2.5)
    found = calibrate(scores, Resampling(4000, count=50))
    assert found.temperatures == pytest.approx((2.5, 2.5), rel=0.1)
    assert found.error.value > 3 > 1.6 > found.error_after.value
    assert found.loss_after.value < found.loss.value
    assert found.error.low < found.error.value < found.error.high
    plain = calibrate(data(images=4000), Resampling(4000, count=2))
    assert plain.temperatures == pytest.approx((1, 1), rel=0.1)
    assert not found.at_bound and not plain.at_bound


def test_no_score_is_judged_with_a_temperature_it_was_fitted_on():
    """In one group all is right, in the other nothing: each gets the temperature that the other asked for."""
    sure = np.full((40, 2), [0.8, 0.2])
    groups = np.repeat([0, 1], 20)
    scores = make(sure, np.repeat([0, 1], 20), groups=groups)
    found = calibrate(scores, Resampling(40, groups, count=2))
    assert min(found.temperatures) < 0.1 and max(found.temperatures) > 10
    assert found.at_bound
    assert found.loss_after.value > found.loss.value


def test_temperature_of_extreme_scores():
    truth = np.array([0, 1] * 10)
    assert 0 < fit_temperature(np.log(np.full((20, 2), 0.5)), truth) < 100
    wrong = make(np.eye(2)[1 - truth], truth)  # scores of exactly 0 and 1
    found = calibrate(wrong, Resampling(20, count=5))
    assert np.isfinite([found.loss.value, found.loss_after.value, found.error_after.value]).all()


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
    unknown = make(np.full((4, 2), 0.5), np.array([[1, -1]] * 4, float))
    assert compute_curves(unknown, compute_metrics(unknown, Resampling(4, count=0))[1]) == []


def test_the_surest_mistakes():
    scores = make(np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.3, 0.7]]), np.array([1, 1, 1, 0]))
    assert find_mistakes(scores, 5) == [(0, 0), (3, 1), (1, 0)]
    assert find_mistakes(scores, 1) == [(0, 0)]
    labels = make(np.array([[0.9, 0.05], [0.6, 0.6], [0.4, 0.6]]), np.array([[0, 1], [-1, 0], [0, 1]], float))
    assert find_mistakes(labels, 5) == [(0, 1), (1, 1)], 'the missed label is the surer mistake; unknown ones are none'


def test_reading(tmp_path):
    records = [
        dict(img_path='a.jpg', sample_idx=3, gt_label=1, pred_label=0, pred_score=[0.7, 0.3]),
        dict(img_path='b.jpg', sample_idx=5, gt_label=-1, pred_label=0, pred_score=[0.7, 0.3]),
        dict(img_path='c.jpg', sample_idx=6, gt_label=0, pred_label=0, pred_score=[0.7, 0.3]),
    ]
    file = tmp_path / 'p.json'
    file.write_text(json.dumps(records))
    found = read_scores(file, False, ['cat', 'dog'])
    assert (found.index.tolist(), found.truth.tolist(), found.paths) == ([3, 6], [1, 0], ['a.jpg', 'c.jpg'])
    assert read_scores(file, False).classes == ['0', '1']
    npz = tmp_path / 'p.npz'
    np.savez(npz, pred_score=np.full((2, 3), 0.5), gt_score=np.array([[1, 0, -1], [0, 0, 1]]))
    assert read_scores(npz, True).truth.tolist() == [[1, 0, -1], [0, 0, 1]]
    np.savez(npz, pred_score=np.full((2, 3), 0.5), gt_label=np.array(['[0, 2]', '1']))
    assert read_scores(npz, True).truth.tolist() == [[1, 0, 1], [0, 1, 0]]


@pytest.mark.parametrize(
    ('name', 'content', 'message'),
    [
        ('p.txt', '', 'is no file of predictions'),
        ('p.json', '{', 'is no file of predictions'),
        ('p.npz', 'x', 'is no file of predictions'),
        ('p.json', '[{"pred_score": [0.5, 0.5]}]', 'has no true labels'),
        ('p.json', '[{"pred_score": [0.5, 0.5], "gt_label": 7}]', 'has the label 7'),
        ('p.json', '[{"pred_score": [0.5, 0.5], "gt_label": [0, 1]}]', 'the head is for one class'),
        ('p.json', '[{"pred_score": [0.5, 0.5], "gt_label": -1}]', 'no image has a true label'),
        ('p.json', '[{"pred_score": [0.1, 0.2, 0.7], "gt_label": 0}]', 'scores of 3 classes, and the model has 2'),
        ('p.json', '[{"pred_score": [0.1, 0.9], "gt_label": 0}, {"pred_score": [NaN, 1]}]', 'of 1 of 2 .* in row 1'),
        ('p.json', '[{"pred_score": [3.5, -2], "gt_label": 0}]', 'or were logits written'),
        ('none.json', None, 'do not exist'),
    ],
)
def test_what_cannot_be_read(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message):
        read_scores(tmp_path / name, False, ['cat', 'dog'])
