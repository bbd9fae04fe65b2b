"""The report's numbers against scikit-learn's, its intervals against resampled images, one after another."""

import numpy as np
import pytest
from made_scores import by_name, close, make, several, single
from scipy.special import softmax
from sklearn import metrics as sklearn

from mmdensenet.results import class_metrics as report_metrics
from mmdensenet.results.bootstrap import Resampling
from mmdensenet.results.class_metrics import compute_metrics, count_confusions


@pytest.mark.parametrize(('positive', 'negative'), [(4, 60), (60, 4), (5, 60), (60, 5)])
def test_an_interval_needs_images_of_both_kinds(positive, negative):
    rng = np.random.default_rng(0)
    truth = np.repeat([1.0, 0.0], [positive, negative])
    both = np.stack([truth, np.arange(len(truth)) % 2], 1)
    _, classes = compute_metrics(make(rng.random(both.shape), both), Resampling(len(truth), count=100))
    told = [not np.isnan(each.metrics['AUROC'].low) for each in classes]
    assert told == [min(positive, negative) >= 5, True]


def test_overall_is_scikit_learns():
    scores = single(classes=7)
    found = by_name(compute_metrics(scores, Resampling(len(scores), count=5))[0])
    truth, predicted, onehot = scores.truth, scores.predicted, scores.targets
    assert close(found['top-1 accuracy'].value, 100 * sklearn.accuracy_score(truth, predicted))
    assert close(found['top-5 accuracy'].value, 100 * sklearn.top_k_accuracy_score(truth, scores.scores, k=5))
    assert close(found['balanced accuracy'].value, 100 * sklearn.balanced_accuracy_score(truth, predicted))
    assert close(found["Cohen's kappa"].value, sklearn.cohen_kappa_score(truth, predicted))
    assert close(found['macro F1'].value, 100 * sklearn.f1_score(truth, predicted, average='macro'))
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
        truth, predicted = scores.truth[some], scores.predicted[some]
        drawn['top-1 accuracy'].append(sklearn.accuracy_score(truth, predicted))
        drawn['macro F1'].append(sklearn.f1_score(truth, predicted, average='macro'))
        drawn['balanced accuracy'].append(sklearn.balanced_accuracy_score(truth, predicted))
        drawn["Cohen's kappa"].append(sklearn.cohen_kappa_score(truth, predicted) / 100)  # no percent
        drawn['recall'].append(sklearn.recall_score(truth == 1, predicted == 1))
        drawn['specificity'].append(sklearn.recall_score(truth == 1, predicted == 1, pos_label=0))
        drawn['precision'].append(sklearn.precision_score(truth == 1, predicted == 1))
        drawn['AUROC'].append(sklearn.roc_auc_score(truth == 1, scores.scores[some, 1]))
    for name, values in drawn.items():
        found = by_name(overall).get(name) or classes[1].metrics[name]
        low, high = np.percentile(100 * np.array(values), [2.5, 97.5])
        assert close(found.low, low) and close(found.high, high), name
        assert found.low < found.value < found.high


def test_labels_with_unknown_ones():
    scores = several()
    overall, labels = compute_metrics(scores, Resampling(len(scores), count=50))
    for i, label in enumerate(labels):
        known = scores.truth[:, i] >= 0
        truth, score = scores.truth[known, i], scores.scores[known, i]
        predicted = score >= 0.5
        assert (label.images, label.others, label.predicted) == (truth.sum(), (1 - truth).sum(), predicted.sum())
        matrix = sklearn.confusion_matrix(truth, predicted)
        assert label.table == ((matrix[1, 1], matrix[1, 0]), (matrix[0, 1], matrix[0, 0]))
        expected = {
            'precision': sklearn.precision_score(truth, predicted),
            'recall': sklearn.recall_score(truth, predicted),
            'specificity': sklearn.recall_score(truth, predicted, pos_label=0),
            'F1': sklearn.f1_score(truth, predicted),
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
    scores = single()
    for resamplings, told in ((100, True), (99, False)):
        monkeypatch.setattr(report_metrics, 'RANKING_BUDGET', resamplings * len(scores) * len(scores.classes))
        found = by_name(compute_metrics(scores, Resampling(300, count=150))[0])
        assert np.isnan(found['macro AUROC'].low) != told and not np.isnan(found['macro F1'].low)


def test_confusion():
    scores = single(classes=5)
    expected = sklearn.confusion_matrix(scores.truth, scores.predicted, labels=range(5))
    assert (count_confusions(scores.truth, scores.predicted, 5) == expected).all()


def test_without_resamplings():
    found = by_name(compute_metrics(single(), Resampling(300, count=0))[0])
    assert all(np.isnan(value.low) and not np.isnan(value.value) for value in found.values())


def test_the_areas_of_two_classes_are_one_where_sure_scores_are_rounded():
    """Of logits that are 40 apart the larger softmax is 1, as of others; the smaller ones still differ."""
    logits = np.random.default_rng(0).normal(-60, 40, 60)
    truth = (np.random.default_rng(1).normal(logits, 60) > -60).astype(int)
    scores = make(softmax(np.stack([-logits / 2, logits / 2], 1), axis=1), truth)
    areas = [sklearn.roc_auc_score(truth == i, scores.scores[:, i]) for i in range(2)]
    assert abs(areas[0] - areas[1]) > 1e-3
    found = [each.metrics['AUROC'] for each in compute_metrics(scores, Resampling(60, None, 20))[1]]
    assert found[0].value == pytest.approx(found[1].value) == pytest.approx(100 * areas[1])
    assert found[0].low == pytest.approx(found[1].low)
