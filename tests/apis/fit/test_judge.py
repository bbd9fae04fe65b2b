"""mmdensenet.apis.fit.judge: every figure as scikit-learn or another library has it, and what is said of few images."""

import json
from functools import partial

import numpy as np
import pytest
from made_scores import several, single, with_logits
from sklearn import metrics as sklearn

from mmdensenet.apis.fit.decide import decide
from mmdensenet.apis.fit.judge import judge
from mmdensenet.errors import UserError
from mmdensenet.results.judgement import Judgement


def halves(scores):
    scores = with_logits(scores)
    return scores.take(np.arange(len(scores)) < 300), scores.take(np.arange(len(scores)) >= 300)


def inside(estimate) -> bool:
    return estimate.low <= estimate.value <= estimate.high and estimate.low < estimate.high


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
    assert all(map(inside, second.figures.values())) and (second.name, second.images) == ('class 1', truth.sum())
    overall = {
        'accuracy': sklearn.accuracy_score(truth, label),
        'balanced accuracy': sklearn.balanced_accuracy_score(truth, label),
        'Brier': expected['Brier'],
        'Brier uncalibrated': sklearn.brier_score_loss(truth, test.scores[:, 1]),
        'log loss': sklearn.log_loss(truth, decided.probabilities),
        'log loss uncalibrated': sklearn.log_loss(truth, test.scores),
        'coverage': decided.sets[np.arange(300), truth].mean(),
        'set size': decided.sets.sum(1).mean(),
        'out of distribution': decided.ood.mean(),
    }
    assert {name: found.overall[name].value for name in overall} == pytest.approx(overall, rel=1e-6)
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
            assert label.figures['sensitivity'].value == pytest.approx(sklearn.recall_score(truth, called))
            assert label.figures['PPV'].value == pytest.approx(sklearn.precision_score(truth, called))
            assert (label.images, label.others) == (truth.sum(), (1 - truth).sum())
            assert label.figures['Brier'].value == pytest.approx(
                sklearn.brier_score_loss(truth, decided.probabilities[known, i])
            )
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
    by_group = judge(copies, decisions, groups=[f'patient {i}' for i in groups], resamplings=300)
    alone = judge(copies, decisions, resamplings=300)
    for name in ('AUROC', 'AUROC (DeLong)', 'sensitivity', 'PPV'):
        wide, narrow = by_group.labels[0].figures[name], alone.labels[0].figures[name]
        assert wide.value == narrow.value and wide.high - wide.low > 1.5 * (narrow.high - narrow.low), name
    assert by_group.groups == 30 and alone.groups is None and alone.by_group is None
    [label] = by_group.by_group
    once = decisions.apply(copies.logits[::10]).probabilities[:, 1]
    assert label.images + label.others == 30
    assert label.figures['AUROC'].value == pytest.approx(sklearn.roc_auc_score(copies.truth[::10], once))
    assert 'taken for itself' in alone.caveats[-1] and 'taken for itself' not in ' '.join(by_group.caveats)


def test_a_group_has_a_label_if_an_image_has_it():
    validation, test = halves(several(600, unknown=0))
    groups = np.arange(300) // 3
    test.truth[groups == 0] = -1  # nothing is known of a group
    found = judge(test, decide(validation), groups=groups, resamplings=20)
    has = test.truth.reshape(100, 3, 3).max(1)
    mean = decide(validation).apply(test.logits).probabilities.reshape(100, 3, 3).mean(1)
    for i, label in enumerate(found.by_group):
        assert (label.images, label.others) == ((has[1:, i] == 1).sum(), (has[1:, i] == 0).sum())
        assert label.figures['AP'].value == pytest.approx(sklearn.average_precision_score(has[1:, i], mean[1:, i]))


def test_subgroups():
    validation, test = halves(single(600, 2, factor=2))
    sex = np.where(np.arange(300) % 3, 'f', 'm')
    found = judge(test, decide(validation), subgroups=dict(sex=sex, age=np.arange(300)), resamplings=50)
    assert [(part.column, part.value, part.images) for part in found.subgroups][:3] == [
        *(('sex', 'f', 200), ('sex', 'm', 100)),
        ('age', '0 to 74', 75),
    ]
    label = decide(validation).apply(test.logits).labels
    for part in found.subgroups[:2]:
        which = sex == part.value
        assert part.overall['accuracy'].value == pytest.approx((label == test.truth)[which].mean())
        assert part.labels[0].figures['sensitivity'].value == pytest.approx(
            sklearn.recall_score(test.truth[which], label[which])
        )
    assert any(line.startswith('sex m (100 images): macro AUROC 0.') for line in found.lines())
    assert Judgement.from_dict(found.to_dict()).lines() == found.lines()


def test_subgroups_as_those_of_another_library():
    """fairlearn's MetricFrame on the decided labels and on the probabilities."""
    fairlearn = pytest.importorskip('fairlearn.metrics', reason='fairlearn is not installed (requirements/tests.txt)')
    validation, test = halves(single(600, 2, factor=2))
    site = np.array(['Nord, 1', 'Süd|2', 'West'])[np.arange(300) ** 2 % 7 % 3]
    decisions = decide(validation, operating_point='sensitivity=0.8')
    decided = decisions.apply(test.logits)
    found = judge(test, decisions, subgroups=dict(site=site), resamplings=0)
    functions = dict(
        sensitivity=sklearn.recall_score,
        specificity=partial(sklearn.recall_score, pos_label=0),
        PPV=sklearn.precision_score,
        accuracy=sklearn.accuracy_score,
        images=fairlearn.count,
    )
    frames = [
        fairlearn.MetricFrame(metrics=metrics, y_true=test.truth, y_pred=predicted, sensitive_features=site).by_group
        for metrics, predicted in (
            (functions, decided.labels),
            (dict(AUROC=sklearn.roc_auc_score, Brier=sklearn.brier_score_loss), decided.probabilities[:, 1]),
        )
    ]
    assert [part.value for part in found.subgroups] == list(frames[0].index) == sorted(set(site))
    for part in found.subgroups:
        expected = {name: float(value) for frame in frames for name, value in frame.loc[part.value].items()}
        figures = dict(part.labels[0].figures, accuracy=part.overall['accuracy'])
        given = {name: figures[name].value for name in expected if name != 'images'} | dict(images=part.images)
        assert given == pytest.approx(expected), part.value


def test_what_is_said_of_few_images_and_of_what_was_left_out():
    scores = with_logits(several(160, unknown=0))
    scores.truth[:, 1] = np.arange(160) == 3
    validation, test = scores.take(np.arange(80)), scores.take(np.arange(80, 160))
    found = judge(test, decide(validation, part='the validation part'), resamplings=20)
    said = ' '.join(found.caveats)
    assert 'fitted on 80 images of the validation part' in said
    assert 'Left out: class 1: no operating point' in said
    assert '3 of 3 labels have fewer than 100 images' in said and 'class 1 0 with and 80 without' in said
    never = found.labels[1].figures
    assert np.isnan([never['AUROC'].value, never['sensitivity'].value, never['specificity'].value]).all()
    assert 'coverage' not in never and found.to_dict()['labels'][1]['figures']['AUROC']['value'] is None
    known = [0, 2]
    sets = decide(validation).apply(test.logits).sets[:, known]
    assert found.overall['coverage'].value == pytest.approx(sets[test.truth[:, known] == 1].mean())
    assert 'sensitivity not defined' in '\n'.join(found.lines())


@pytest.mark.filterwarnings('error::RuntimeWarning')
def test_parts_of_which_little_is_known():
    """A subgroup without a known label, a single image, one group: nothing is defined, or has no interval."""
    validation, test = halves(several(600, unknown=0))
    test.truth[:100] = -1
    decisions = decide(validation)
    found = judge(test, decisions, subgroups=dict(site=['a'] * 100 + ['b'] * 200), resamplings=50)
    assert np.isnan(
        [found.subgroups[0].overall[name].value for name in ('Brier', 'log loss', 'calibration error')]
    ).all()
    assert found.subgroups[1].overall['Brier'].value == pytest.approx(found.overall['Brier'].value)
    one = judge(test.take([200]), decisions, resamplings=50)
    for name in ('Brier', 'log loss', 'set size'):
        assert np.isfinite(one.overall[name].value) and np.isnan(one.overall[name].low)
    wide = one.overall['empty sets']
    assert wide.high - wide.low > 0.5, "Wilson's, of one image"
    together = judge(test, decisions, groups=np.zeros(300), resamplings=50)
    assert np.isnan([each.figures['AUROC'].low for each in together.labels]).all()


def test_mistakes():
    validation, test = halves(single(600, 2))
    decisions = decide(validation)
    with pytest.raises(UserError, match='groups has 3 values for 300 images'):
        judge(test, decisions, groups=[1, 2, 3])
    with pytest.raises(UserError, match="'sex' has 1 values for 300 images"):
        judge(test, decisions, subgroups=dict(sex=['f']))
    with pytest.raises(UserError, match='no images to judge'):
        judge(test.take(np.zeros(300, bool)), decisions)
    with pytest.raises(UserError, match='2 classes'):
        judge(halves(single(600, 3))[1], decisions)
