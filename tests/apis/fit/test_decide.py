"""mmdensenet.apis.fit.decide: temperature, thresholds, sets and warnings, against the published formulas."""

import numpy as np
import pytest
from made_scores import make, several, single, with_logits
from scipy.special import expit, softmax
from sklearn import metrics as sklearn

from mmdensenet.apis.fit.decide import SLACK, conformal_quantile, decide
from mmdensenet.apis.fit.judge import judge
from mmdensenet.errors import UserError
from mmdensenet.results.decisions import Decisions, energy
from mmdensenet.results.operating_points import fit_operating_point


def test_one_class_per_image():
    scores = with_logits(single(images=3000, factor=2.5))
    found = decide(scores, part='the part', weights='ab' * 32)
    assert found.temperatures == pytest.approx((2.5,), rel=0.1)
    assert (found.points, found.left_out, found.samples, found.part) == ((), (), 3000, 'the part')
    decided = found.apply(scores.logits)
    assert sklearn.log_loss(scores.truth, decided.probabilities) < sklearn.log_loss(scores.truth, scores.scores)
    assert (decided.labels == scores.predicted).all()
    assert decided.ood.mean() == pytest.approx(0.05, abs=0.001)
    assert Decisions.from_dict(found.to_dict(), 'file') == found


@pytest.mark.parametrize('count', [9, 10, 57, 100, 399, 20000])
def test_conformal_quantile_is_that_of_the_formula(count):
    """Equation 1 of arXiv:2107.07511; the quantile is the smallest that is right, but for less than SLACK."""
    distances = np.random.default_rng(count).random(count)
    found = conformal_quantile(distances, 0.9)
    level = np.ceil((count + 1) * 0.9) / count
    expected = np.quantile(distances, level, method='inverted_cdf')
    assert 0 < found - expected <= SLACK
    assert (distances <= found).sum() == np.ceil((count + 1) * 0.9)


def test_conformal_quantile_of_too_few():
    assert conformal_quantile(np.arange(8.0), 0.9) is None
    assert conformal_quantile(np.linspace(0, 0.8, 9), 0.9) >= 0.8
    assert conformal_quantile(np.linspace(0, 1, 9), 0.9) == 1
    assert conformal_quantile(np.zeros(30), 0.9) == pytest.approx(SLACK), 'all alike'


@pytest.mark.parametrize('labels', [False, True])
def test_conformal_sets_cover_new_images(labels):
    """Over many draws, of the images (of the images with a label) 90% have it in their set, and little more."""
    covered = []
    for seed in range(40):
        scores = with_logits(several(400, 2, seed, unknown=0) if labels else single(400, 4, seed))
        sets = decide(scores.take(np.arange(200))).apply(scores.logits[200:]).sets
        covered.append(sets[scores.targets[200:] == 1].mean())
    assert np.mean(covered) == pytest.approx(0.905, abs=0.012)


def test_two_classes_are_decided_as_one_label():
    """A softmax of logits (0, z) is the sigmoid of z: temperature, threshold, labels and energy are the same."""
    label = with_logits(several(2000, labels=1, factor=2.5, unknown=0))
    pair = make(np.hstack([1 - label.scores, label.scores]), label.truth[:, 0].astype(int))
    pair.logits = np.hstack([np.zeros((2000, 1)), label.logits])
    for rule in ('youden', 'f1', 'sensitivity=0.9'):
        one, two = decide(label, operating_point=rule), decide(pair, operating_point=rule)
        assert one.temperatures == pytest.approx(two.temperatures, rel=1e-4)
        assert one.points[0].threshold == pytest.approx(two.points[0].threshold, abs=1e-4)
        assert one.ood_threshold == pytest.approx(two.ood_threshold)
        found, other = one.apply(label.logits), two.apply(pair.logits)
        assert np.array_equal(found.positive[:, 0], other.positive[:, 1]) and np.array_equal(found.ood, other.ood)
        assert found.probabilities[:, 0] == pytest.approx(other.probabilities[:, 1], abs=1e-4)
        figures = [
            judge(scores, decisions, resamplings=0).labels[0].figures
            for scores, decisions in ((label, one), (pair, two))
        ]
        for name in ('AUROC', 'AP', 'AUROC (DeLong)', 'sensitivity', 'specificity', 'PPV', 'NPV', 'Brier'):
            assert figures[0][name].value == pytest.approx(figures[1][name].value, abs=1e-6), name


def test_two_classes_get_a_threshold_of_the_second():
    scores = with_logits(single(images=400, classes=2, factor=2))
    found = decide(scores, operating_point='sensitivity=0.9')
    [point] = found.points
    decided = found.apply(scores.logits)
    assert sklearn.recall_score(scores.truth, decided.labels) == point.sensitivity >= 0.9
    assert sklearn.recall_score(scores.truth, decided.labels, pos_label=0) == point.specificity
    assert decide(scores).points[0].rule == 'youden' and decide(scores, operating_point='argmax').points == ()


def test_several_labels_each_by_itself():
    scores = with_logits(several(images=2000, factor=2))
    scores.logits[:, 1] *= 2  # the second is twice as far off
    scores.scores = expit(scores.logits)
    found = decide(scores, operating_point='f1')
    assert found.temperatures == pytest.approx((2, 4, 2), rel=0.15)
    decided = found.apply(scores.logits)
    for i, point in enumerate(found.points):
        known = scores.truth[:, i] >= 0
        assert sklearn.recall_score(scores.truth[known, i], decided.positive[known, i]) == point.sensitivity
        assert point == fit_operating_point(decided.probabilities[known, i], scores.truth[known, i], 'f1')
    assert [point.rule for point in found.points] == ['f1'] * 3


def test_what_cannot_be_fitted_is_named_and_left_out():
    scores = with_logits(several(images=60, labels=4, unknown=0))
    scores.truth[:, 0] = 0  # no positive
    scores.truth[:, 3] = np.arange(60) < 2
    # six, fewer than the 9 that a set needs
    scores.truth[:, 1] = np.isin(np.argsort(np.argsort(scores.logits[:, 1])), [59, 58, 57, 56, 30, 20])
    scores.truth[:, 2] = -1  # nothing known
    scores.truth[:, 2][:4] = 0.5  # or not for sure
    found = decide(scores)
    assert found.temperatures[0] is None and found.temperatures[1] and found.temperatures[2] is None
    assert found.undecided == ['class 0', 'class 2', 'class 3'] and found.coverage is None
    said = ' '.join(found.left_out)
    assert 'class 0: no operating point, of 0 images with it and 60 without' in said
    assert 'class 2: no operating point, of 0 images with it and 0 without' in said
    assert 'class 3: no operating point, of 2 images with it and 58 without' in said
    assert 'class 1: no conformal set, as 90% needs 9 images with it' in said
    assert 'class 2: the scores stay uncalibrated, of 0 images with it and 0 without' in said
    assert not found.apply(scores.logits).positive[:, [0, 2]].any()


def test_too_few_images_of_one_class_each():
    scores = single(images=8, classes=2)
    found = decide(scores)
    assert (found.temperatures, found.points, found.coverage, found.ood_threshold) == ((None,), (), None, None)
    said = ' '.join(found.left_out)
    assert 'of 8 images, fewer than 20' in said and 'argmax' in said and '90% needs 9 images' in said
    assert found.apply(np.log(scores.scores)).probabilities == pytest.approx(scores.scores)


def test_a_perfect_model_has_no_temperature():
    truth = np.arange(60) % 3
    logits = 3 * np.eye(3)[truth]
    scores = make(softmax(logits, axis=1), truth, logits=logits)
    found = decide(scores)
    assert found.temperatures == (None,) and 'no minimum' in found.left_out[0]
    right, wrong = np.sign(np.arange(60) % 3 - 0.5), np.sign(np.arange(60) % 4 - 0.5)
    truth, logits = np.stack([right, right], 1) > 0, np.stack([right, wrong], 1) / 2  # of the second label some are
    found = decide(make(expit(logits), truth.astype(int), logits=logits))
    assert found.temperatures[0] is None and found.temperatures[1] > 0
    assert 'class 0: the scores stay uncalibrated, as every image is right' in found.left_out[0]


def test_without_logits_there_is_no_energy():
    found = decide(single(images=100))
    assert found.ood_threshold is None and 'the scores have no logits' in found.left_out[0]
    assert found.temperatures == pytest.approx((1,), rel=0.3)


@pytest.mark.parametrize('count', [20, 21, 41, 60, 101])
def test_no_image_is_at_the_threshold_of_its_energy(count):
    """The checkpoint's and an exported file's roundings differ, and must mark the same images."""
    for tied in (False, True):
        scores = with_logits(single(images=count))
        if tied:
            scores.logits[-3:] = scores.logits[np.argmax(energy(scores.logits, False))]
        threshold = decide(scores).ood_threshold
        energies = energy(scores.logits, False)
        expected = int(round(0.05 * count, 9))
        assert (energies > threshold).sum() <= expected and (tied or (energies > threshold).sum() == expected)
        assert np.abs(energies - threshold).min() > 1e-6


def test_names_that_terminals_do_not_show_can_be_read_again():
    """Excel's no-break space, in the name of a label that could not be decided."""
    scores = with_logits(several(images=60, labels=2, unknown=0))
    scores.classes = ['a\xa0b\tc, "d"|', 'Ödem\u200b' + 'x' * 3000]
    scores.truth[:] = 0
    found = decide(scores)
    assert found.undecided == scores.classes and any('a b c, "d"|' in sentence for sentence in found.left_out)
    assert Decisions.from_dict(found.to_dict(), 'file') == found


def test_scores_that_tell_nothing():
    """All alike: nothing is calibrated, the only threshold calls everything, and sets have every class."""
    scores = with_logits(several(images=60, labels=2, unknown=0))
    scores.logits[:] = 1.5
    scores.scores[:] = expit(1.5)
    for rule in ('youden', 'f1', 'sensitivity=0.9'):
        found = decide(scores, operating_point=rule)
        decided = found.apply(scores.logits)
        assert decided.positive.all() and decided.sets.all() and not decided.ood.any()
        assert {(point.sensitivity, point.specificity) for point in found.points} == {(1.0, 0.0)}
    found = decide(scores, operating_point='specificity=0.9')
    assert found.undecided == scores.classes and 'reached only by predicting it never' in ' '.join(found.left_out)


def test_mistakes():
    scores = with_logits(single(images=30))
    for arguments, named in [
        (dict(coverage=1.0), 'coverage=1.0'),
        (dict(coverage=0), 'coverage=0'),
        (dict(operating_point='best'), 'operating_point=best'),
    ]:
        with pytest.raises(UserError, match=named):
            decide(scores, **arguments)
    with pytest.raises(UserError, match='operating_point=argmax'):
        decide(several(images=30), operating_point='argmax')
    scores.logits[3] = np.nan
    with pytest.raises(UserError, match='not all finite'):
        decide(scores)
    with pytest.raises(UserError, match='no images'):
        decide(scores.take(np.zeros(30, bool)))


def test_sets_as_those_of_another_library():
    mapie = pytest.importorskip('mapie.classification', reason='MAPIE is not installed (requirements/tests.txt)')
    from sklearn.base import BaseEstimator, ClassifierMixin

    class Given(ClassifierMixin, BaseEstimator):
        """Probabilities as they come."""

        def __init__(self):
            self.classes_, self.n_features_in_ = np.arange(4), 4

        def fit(self, x, y):
            return self

        def predict_proba(self, x):
            return softmax(x, axis=1)

        def predict(self, x):
            return x.argmax(1)

        def __sklearn_is_fitted__(self):
            return True

    scores = with_logits(single(images=700))
    found = decide(scores.take(np.arange(300))).apply(scores.logits[300:]).sets
    theirs = mapie.SplitConformalClassifier(Given(), confidence_level=0.9, conformity_score='lac', prefit=True)
    theirs.conformalize(scores.logits[:300], scores.truth[:300])
    _, sets = theirs.predict_set(scores.logits[300:])
    assert np.array_equal(found, sets[:, :, 0]) and 0 < found.sum() < found.size
