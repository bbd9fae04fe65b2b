"""Figures of decisions are those of scikit-learn; groups, and groups in the place of images."""

import json
from dataclasses import replace

import numpy as np
import pytest
from made_scores import halves, several, single
from scipy.special import logsumexp
from sklearn import metrics as sklearn

from mmdensenet.apis.fit.decide import decide
from mmdensenet.apis.fit.judge import judge
from mmdensenet.results.decisions import activate
from mmdensenet.results.judgement import Judgement


def inside(estimate) -> bool:
    return estimate.low <= estimate.value <= estimate.high and estimate.low < estimate.high


def drawn_values(number, value, count=200) -> list[float]:
    """Values of the images or groups that are drawn with seed 0."""
    rng = np.random.default_rng(0)
    return [value(rng.integers(number, size=number)) for _ in range(count)]


def expected_calibration_error(probabilities, truth) -> float:
    """The gap of each of 15 bins of the best class's probability, by the share of images in it."""
    best, right = probabilities.max(1), probabilities.argmax(1) == truth
    bins = [(best >= i / 15) & (best < (i + 1) / 15) for i in range(15)]
    return sum(abs(right[some].sum() - best[some].sum()) for some in bins) / len(truth)


def test_two_classes():
    validation, test = halves(single(600, 2, factor=2))
    decisions = decide(validation, operating_point='sensitivity=0.8')
    found = judge(test, decisions, resamplings=200)
    decided = decisions.apply(test.logits)
    truth, probability, label = test.truth, decided.probabilities[:, 1], decided.labels
    [second] = found.labels
    expected = {
        'AUROC': sklearn.roc_auc_score(truth, probability),
        'AUROC (DeLong)': sklearn.roc_auc_score(truth, probability),
        'AP': sklearn.average_precision_score(truth, probability),
        'sensitivity': sklearn.recall_score(truth, label),
        'specificity': sklearn.recall_score(truth, label, pos_label=0),
        'PPV': sklearn.precision_score(truth, label),
        'NPV': sklearn.precision_score(truth, label, pos_label=0),
        'Brier': sklearn.brier_score_loss(truth, probability),
        'coverage': decided.sets[truth == 1, 1].mean(),
    }
    assert {name: value.value for name, value in second.figures.items()} == pytest.approx(expected)
    drawn = drawn_values(len(truth), lambda some: sklearn.roc_auc_score(truth[some], probability[some]))
    area = second.figures['AUROC']
    assert (area.low, area.high) == pytest.approx(np.percentile(drawn, [2.5, 97.5]), abs=1e-6)
    assert all(map(inside, second.figures.values())) and (second.name, second.images) == ('class 1', truth.sum())
    precisions = expected['AP'], sklearn.average_precision_score(1 - truth, decided.probabilities[:, 0])
    overall = {
        'macro AUROC': expected['AUROC'],
        'macro AP': np.mean(precisions),
        'accuracy': sklearn.accuracy_score(truth, label),
        'balanced accuracy': sklearn.balanced_accuracy_score(truth, label),
        'Brier': expected['Brier'],
        'Brier uncalibrated': sklearn.brier_score_loss(truth, test.scores[:, 1]),
        'log loss': sklearn.log_loss(truth, decided.probabilities),
        'log loss uncalibrated': sklearn.log_loss(truth, test.scores),
        'calibration error': expected_calibration_error(decided.probabilities, truth),
        'calibration error uncalibrated': expected_calibration_error(test.scores, truth),
        'coverage': decided.sets[np.arange(300), truth].mean(),
        'set size': decided.sets.sum(1).mean(),
        'out of distribution': decided.ood.mean(),
    }
    assert {name: found.overall[name].value for name in overall} == pytest.approx(overall, rel=1e-6)
    error = found.overall['calibration error uncalibrated']
    assert error.low < error.value < error.high < 1.5 * error.value
    assert found.overall['log loss'].value < found.overall['log loss uncalibrated'].value
    assert all(inside(found.overall[name]) for name in overall)
    assert second.curve.model[49] == pytest.approx(
        ((probability >= 0.5) & (truth == 1)).mean() - ((probability >= 0.5) & (truth == 0)).mean()
    )


def test_several_classes_and_labels():
    for scores in (single(600, 4, factor=2), several(600, factor=2)):
        validation, test = halves(scores)
        decisions = decide(validation)
        found = judge(test, decisions, resamplings=100)
        decided = decisions.apply(test.logits)
        areas = []
        for i, label in enumerate(found.labels):
            known = test.targets[:, i] >= 0
            truth, called = test.targets[known, i], decided.positive[known, i]
            areas.append(sklearn.roc_auc_score(truth, decided.probabilities[known, i]))
            assert label.figures['AUROC'].value == pytest.approx(areas[-1])
            expected = {
                'sensitivity': sklearn.recall_score(truth, called),
                'specificity': sklearn.recall_score(truth, called, pos_label=0),
                'PPV': sklearn.precision_score(truth, called),
                'NPV': sklearn.precision_score(truth, called, pos_label=0),
                'coverage': decided.sets[known, i][truth == 1].mean(),
                'Brier': sklearn.brier_score_loss(truth, decided.probabilities[known, i]),
            }
            assert {name: label.figures[name].value for name in expected} == pytest.approx(expected)
            assert (label.images, label.others) == (truth.sum(), (1 - truth).sum())
        assert found.overall['macro AUROC'].value == pytest.approx(np.mean(areas))
        written = json.loads(json.dumps(found.to_dict(), allow_nan=False))
        assert written['labels'][0]['figures']['AUROC']['value'] == found.labels[0].figures['AUROC'].value
        assert written['overall']['macro AUROC']['value'] == found.overall['macro AUROC'].value
        assert Judgement.from_dict(written).to_dict() == written
        assert Judgement.from_dict(written).lines() == found.lines()
    assert found.overall['label accuracy'].value == pytest.approx(
        (decided.positive == (test.truth == 1))[test.truth >= 0].mean()
    )


def test_multiclass_brier_and_log_loss():
    validation, test = halves(single(600, 4, factor=2))
    decisions = decide(validation)
    found = judge(test, decisions, resamplings=10)
    probabilities = decisions.apply(test.logits).probabilities
    brier = ((probabilities - np.eye(4)[test.truth]) ** 2).sum(1).mean()
    assert found.overall['Brier'].value == pytest.approx(brier)
    assert found.overall['log loss'].value == pytest.approx(sklearn.log_loss(test.truth, probabilities), rel=1e-6)


def test_groups_widen_the_intervals_and_have_figures_of_their_own():
    validation, test = halves(single(600, 2, factor=2))
    groups = np.repeat(np.arange(30), 10)
    copies = test.take(np.arange(300) // 10 * 10)  # ten times the same image in each group
    decisions = decide(validation)
    by_group = judge(copies, decisions, groups=[f'patient {i:02}' for i in groups], resamplings=300)
    alone = judge(copies, decisions, resamplings=300)
    for name in ('AUROC', 'AUROC (DeLong)', 'sensitivity', 'PPV'):
        wide, narrow = by_group.labels[0].figures[name], alone.labels[0].figures[name]
        assert wide.value == narrow.value and wide.high - wide.low > 1.5 * (narrow.high - narrow.low), name
    assert by_group.groups == 30 and alone.groups is None and alone.by_group is None
    [label] = by_group.by_group
    once = decisions.apply(copies.logits[::10]).probabilities[:, 1]
    assert label.images + label.others == 30
    truth = copies.truth[::10]
    for name, function in (('AUROC', sklearn.roc_auc_score), ('AP', sklearn.average_precision_score)):
        drawn = drawn_values(30, lambda some, function=function: function(truth[some], once[some]), 300)
        area = label.figures[name]
        assert (area.low, area.high) == pytest.approx(np.percentile(drawn, [2.5, 97.5]), abs=1e-6)
    assert label.figures['AUROC'].value == pytest.approx(sklearn.roc_auc_score(copies.truth[::10], once))
    assert 'taken for itself' in alone.caveats[-1] and 'taken for itself' not in ' '.join(by_group.caveats)


def test_a_group_has_a_label_if_an_image_has_it():
    """Images of which nothing is known are in no mean."""
    validation, test = halves(several(600))
    groups = np.arange(300) // 3
    test.truth[groups == 0] = -1  # nothing is known of a group
    found = judge(test, decide(validation), groups=groups, resamplings=20)
    probabilities = decide(validation).apply(test.logits).probabilities.reshape(100, 3, 3)[1:]
    known = test.truth.reshape(100, 3, 3)[1:]
    for i, label in enumerate(found.by_group):
        some = (known[..., i] >= 0).any(1)
        assert (known[some, :, i] < 0).any() and (known[some, :, i] == 1).all(1).any()
        has = known[some, :, i].max(1)
        mean = np.ma.masked_array(probabilities[some, :, i], known[some, :, i] < 0).mean(1)
        assert (label.images, label.others) == ((has == 1).sum(), (has == 0).sum())
        assert label.figures['AP'].value == pytest.approx(sklearn.average_precision_score(has, mean.data))


@pytest.mark.parametrize('scores', [single(400, 3), several(400)], ids=['classes', 'labels'])
def test_log_loss_of_sure_errors_is_whole(scores):
    """The probabilities of such logits are 0 and 1 in float64, which no log loss can be computed of."""
    validation, test = halves(scores)
    decisions = replace(decide(validation), temperatures=(1.0,) * (3 if test.multi_label else 1))
    logits = 60 * test.logits
    test = replace(test, logits=logits, scores=activate(logits, test.multi_label))
    if test.multi_label:
        expected = np.logaddexp(0, np.where(test.truth == 1, -logits, logits))[test.truth >= 0].mean()
    else:
        expected = (logsumexp(logits, axis=1) - logits[np.arange(len(test)), test.truth]).mean()
    found = judge(test, decisions, resamplings=0).overall
    assert found['log loss'].value == found['log loss uncalibrated'].value == pytest.approx(expected)
