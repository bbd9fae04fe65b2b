"""Figures of decided labels, against counts by hand of the raw logits and the stored decisions."""

from dataclasses import replace

import numpy as np
import pytest
from made_scores import by_name, halves, several, single
from scipy.special import expit, softmax
from sklearn import metrics as sklearn

from mmdensenet.apis.fit.decide import decide
from mmdensenet.apis.fit.judge import judge
from mmdensenet.errors import UserError
from mmdensenet.results.bootstrap import Resampling
from mmdensenet.results.calibration import stored_calibration
from mmdensenet.results.class_metrics import compute_metrics
from mmdensenet.results.decided import decided_scores
from mmdensenet.results.judged_metrics import judged_metrics


def judged(scores, rule):
    """Judged metrics of the second half, as the first half says, and the decisions."""
    fit, test = halves(scores)
    decisions = decide(fit, operating_point=rule)
    shown = decided_scores(test, decisions.apply_to(test), decisions.undecided)
    resampling = Resampling(len(test), test.groups, 50)
    overall, classes = compute_metrics(shown, resampling)
    judgement = judge(test, decisions, resamplings=50)
    calibration = stored_calibration(test, shown, resampling)
    return test, decisions, judged_metrics(overall, classes, calibration, judgement), judgement


@pytest.mark.parametrize(
    ('classes', 'rule'), [(2, 'specificity=0.9'), (2, 'argmax'), (4, 'argmax'), (4, 'sensitivity=0.9')]
)
def test_one_class_for_each_image(classes, rule):
    test, decisions, (overall, found, calibration), judgement = judged(single(600, classes, factor=3), rule)
    probabilities = softmax(test.logits / decisions.temperatures[0], axis=1)
    if classes == 2 and decisions.points:
        labels = (probabilities[:, 1] >= decisions.points[0].threshold).astype(int)
    else:
        units = [point.threshold for point in decisions.points] or [1] * classes
        labels = (probabilities / units).argmax(1)
    assert (labels != test.predicted).any() == (rule != 'argmax')
    values = by_name(overall)
    assert values['accuracy'].value == pytest.approx(100 * (labels == test.truth).mean())
    assert values['balanced accuracy'].value == pytest.approx(100 * sklearn.balanced_accuracy_score(test.truth, labels))
    assert values["Cohen's kappa"].value == pytest.approx(sklearn.cohen_kappa_score(test.truth, labels))
    assert values['macro F1'].value == pytest.approx(100 * sklearn.f1_score(test.truth, labels, average='macro'))
    areas = [sklearn.roc_auc_score(test.truth == i, probabilities[:, i]) for i in range(classes)]
    assert values['macro AUROC'].value == pytest.approx(100 * np.mean(areas))
    for i, each in enumerate(found):
        true, called = test.truth == i, labels == i
        wanted = dict(recall=called[true].mean(), specificity=1 - called[~true].mean(), precision=true[called].mean())
        for name, value in wanted.items():
            assert each.metrics[name].value == pytest.approx(100 * value), (each.name, name)
        assert each.metrics['AUROC'].value == pytest.approx(100 * areas[i])
        assert each.predicted == called.sum()
    loss = sklearn.log_loss(test.truth, probabilities)
    assert calibration.loss_after.value == pytest.approx(loss) == judgement.overall['log loss'].value
    assert calibration.loss.value == pytest.approx(sklearn.log_loss(test.truth, softmax(test.logits, axis=1)))
    assert values['accuracy'].low == pytest.approx(100 * judgement.overall['accuracy'].low), 'one interval'


def test_several_labels_of_which_one_is_not_decided():
    scores = several(600, factor=3)
    scores.truth[:300, 2] = np.where(np.arange(300) < 4, 1, 0)  # too few to choose a threshold
    test, decisions, (overall, found, _), _ = judged(scores, 'sensitivity=0.95')
    assert decisions.undecided == ['class 2']
    right = of = 0
    for i in (0, 1):
        known = test.truth[:, i] >= 0
        true = test.truth[known, i] == 1
        called = expit(test.logits[known, i] / decisions.temperatures[i]) >= decisions.points[i].threshold
        table = (called & true).sum(), (~called & true).sum(), (called & ~true).sum(), (~called & ~true).sum()
        assert found[i].table == (table[:2], table[2:]) and found[i].predicted == called.sum()
        assert found[i].metrics['recall'].value == pytest.approx(100 * called[true].mean())
        assert found[i].metrics['precision'].value == pytest.approx(100 * true[called].mean())
        right, of = right + (called == true).sum(), of + known.sum()
    assert by_name(overall)['label accuracy'].value == pytest.approx(100 * right / of)
    recalls = [found[i].metrics['recall'].value for i in (0, 1)]
    assert by_name(overall)['macro recall'].value == pytest.approx(np.mean(recalls))
    assert found[2].table is None and not found[2].decided
    assert np.isnan([found[2].metrics[name].value for name in ('recall', 'precision', 'specificity', 'F1')]).all()
    assert found[2].metrics['AUROC'].value > 0


def test_a_judgement_of_other_decisions_is_refused():
    fit, test = halves(single(600, 3, factor=3))
    once, other = decide(fit), decide(fit, operating_point='sensitivity=0.9')
    shown = decided_scores(test, once.apply_to(test))
    resampling = Resampling(len(test), None, 10)
    made = (*compute_metrics(shown, resampling), stored_calibration(test, shown, resampling))
    with pytest.raises(UserError, match=r'judgement: accuracy is .* of other images, labels or decisions'):
        judged_metrics(*made, judge(test, other, resamplings=10))
    with pytest.raises(ValueError, match='decided already'):
        once.apply_to(shown)
    assert shown.take([1, 0]).predicted.tolist() == shown.predicted[[1, 0]].tolist()
    assert replace(shown, positive=None).predicted.tolist() == shown.scores.argmax(1).tolist()
