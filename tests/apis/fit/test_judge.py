"""mmdensenet.apis.fit.judge: every figure as scikit-learn or another library has it, and what is said of few images."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from made_scores import halves, several, single, with_logits
from sklearn import metrics as sklearn

from mmdensenet.apis.fit.decide import decide
from mmdensenet.apis.fit.judge import facts_of, judge
from mmdensenet.errors import UserError
from mmdensenet.results.judgement import Judgement


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
        assert part.labels[0].curve is None and found.labels[0].curve is not None
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
    assert 'The sets aim at 90%' in said and 'Every image is taken for itself' in said
    assert 'its sensitivity may be' not in said, 'of class 1 nothing is known'
    assert 'Of 3 of 3 labels there are fewer than 100 images' in said and 'class 1 0 with and 80 without' in said
    never = found.labels[1].figures
    assert np.isnan([never['AUROC'].value, never['sensitivity'].value, never['specificity'].value]).all()
    assert 'coverage' not in never and found.to_dict()['labels'][1]['figures']['AUROC']['value'] is None
    known = [0, 2]
    sets = decide(validation).apply(test.logits).sets[:, known]
    assert found.overall['coverage'].value == pytest.approx(sets[test.truth[:, known] == 1].mean())
    assert 'sensitivity not defined' in '\n'.join(found.lines())


def test_how_rough_the_figures_of_few_images_are():
    validation, test = halves(single(600, 2, factor=2))
    decisions = decide(validation)
    assert 'images with or without' not in ' '.join(judge(test, decisions, resamplings=20).caveats)
    few = judge(test.take(np.arange(80)), replace(decisions, coverage=None, quantiles=()), resamplings=20)
    wide = few.labels[0].figures['sensitivity']
    said = ' '.join(few.caveats)
    assert f'without (its sensitivity may be anything from {wide.low:.0%} to {wide.high:.0%}): the' in said
    assert 'The sets aim at' not in said


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
    with pytest.raises(UserError, match="'class 0' in the place of 'class 1'"):  # what is decided has names
        judge(replace(test, classes=test.classes[::-1]), decisions)


def test_a_rare_label_stays_in_the_means_of_resamplings():
    """A resampling without its two images is not one of a mean over the other labels."""
    validation, test = halves(several(600, 3, unknown=0))
    truth = test.truth.copy()
    truth[:, 0] = 0
    lowest = np.argsort(test.logits[:, 0])[:2]
    truth[lowest, 0] = 1
    found = judge(replace(test, truth=truth), decide(validation), resamplings=300)
    assert found.labels[0].figures['AUROC'].value < 0.01
    macro, others = found.overall['macro AUROC'], [label.figures['AUROC'].value for label in found.labels[1:]]
    assert macro.low < macro.value < macro.high < np.mean(others) - 0.2


@pytest.mark.parametrize(('value', 'name'), [(1, 'sensitivity'), (0, 'specificity')])
def test_the_caveat_is_on_what_the_few_images_tell(value, name):
    """Of 99% positives it is the specificity that is not known."""
    validation, test = halves(several(600, 1, unknown=0))
    some = np.flatnonzero(test.truth[:, 0] == value)[:4]
    others = np.flatnonzero(test.truth[:, 0] != value)
    found = judge(test.take(np.concatenate([some, others])), decide(validation), resamplings=50)
    interval = found.labels[0].figures[name]
    assert f'(its {name} may be anything from {interval.low:.0%} to {interval.high:.0%})' in ' '.join(found.caveats)


def test_what_a_study_states():
    validation, test = halves(single(600, 2))
    decisions = decide(validation)
    one = facts_of(judge(test, decisions, resamplings=20), 20, 'test part')
    assert {'sensitivity', 'specificity', 'PPV', 'NPV', 'macro AUROC'} <= set(one['metrics'][:-1].split(', '))
    assert (
        one['uncertainty'] == one['precision']
        and '20 resamplings of the images of the test part; shares' in one['precision']
    )
    grouped = facts_of(judge(test, decisions, groups=np.arange(300) // 3, resamplings=20), 20, 'test part')
    assert 'of the groups, such as patients, of the test part' in grouped['precision']
    assert grouped['precision'].endswith('AUROC (DeLong) has that of clustered data.')
