"""mmdensenet.results.decisions: what is decided, by hand, and what a stranger's file may not say."""

import json

import numpy as np
import pytest

from mmdensenet.errors import UserError
from mmdensenet.results.decisions import Decisions, energy
from mmdensenet.results.operating_points import OperatingPoint


def point(threshold: float) -> OperatingPoint:
    return OperatingPoint('youden', threshold, 0.9, 0.8)


def decisions(**changes) -> Decisions:
    values = dict(
        multi_label=False,
        classes=('a', 'b', 'c'),
        temperatures=(2.0,),
        points=(),
        coverage=0.9,
        quantiles=(0.6,),
        ood_threshold=-1.2,
        part='validation',
        samples=100,
        weights='0' * 64,
        left_out=('nothing of note.',),
    )
    return Decisions(**{**values, **changes})


LABELS = dict(multi_label=True, temperatures=(1.0, 2.0, None), points=(point(0.5), None, point(0.7)))
SEVERAL = decisions(**LABELS, quantiles=(0.6, None, 0.2))
TWO = decisions(classes=('no', 'yes'), points=(point(0.3),))
LOGITS = np.log([[0.5, 0.3, 0.2], [0.2, 0.2, 0.6]])


def test_one_of_several_classes():
    decided = decisions().apply(LOGITS)
    roots = np.sqrt([[0.5, 0.3, 0.2], [0.2, 0.2, 0.6]])
    assert decided.probabilities == pytest.approx(roots / roots.sum(1, keepdims=True))
    assert decided.labels.tolist() == [0, 2] and decided.positive.sum(1).tolist() == [1, 1]
    assert decided.sets.tolist() == [[True, False, False], [False, False, True]], 'scores of 0.4 and more'
    assert decided.ood_scores == pytest.approx([0, 0]) and decided.ood.all(), 'logsumexp is 0'


def test_thresholds_of_several_classes_move_the_prediction():
    decided = decisions(points=(point(0.9), point(0.2), point(0.5))).apply(LOGITS)
    assert decided.labels.tolist() == [1, 1]


def test_two_classes_are_decided_at_the_threshold_of_the_second():
    decided = TWO.apply(np.array([[2.0, 0.0], [1.0, 0.0]]))
    assert decided.probabilities[:, 1] == pytest.approx(1 / (1 + np.exp([1, 0.5])))
    assert decided.labels.tolist() == [0, 1]


def test_several_labels():
    decided = SEVERAL.apply(np.array([[0.1, 4.0, 1.0], [-0.1, 0.0, 0.5]]))
    assert decided.probabilities[0] == pytest.approx(1 / (1 + np.exp([-0.1, -2, -1])))
    assert decided.positive.tolist() == [[True, False, True], [False, False, False]]
    assert decided.sets.tolist() == [[True, False, False], [True, False, False]]
    assert SEVERAL.undecided == ['b']
    assert energy(np.array([[0.0, 0.0]]), True) == pytest.approx(-2 * np.log(2))
    assert energy(np.array([[0.0, 0.0]]), False) == pytest.approx(-np.log(2))


def test_at_a_threshold():
    """A label is predicted and in a set; an image is no stranger."""
    nothing = np.zeros((1, 3))
    at = decisions(**{**LABELS, 'points': (point(0.5), point(np.nextafter(0.5, 1)), None)}, quantiles=(0.5, 0.49, None))
    decided = at.apply(nothing)
    assert decided.positive.tolist() == decided.sets.tolist() == [[True, False, False]]
    assert at.undecided == at.without_sets == ['c'] and decisions(quantiles=(None,)).without_sets == []
    energies = energy(nothing, True)
    for threshold, stranger in ((energies[0], False), (np.nextafter(energies[0], -9), True)):
        assert decisions(**LABELS, quantiles=(None,) * 3, ood_threshold=threshold).apply(nothing).ood.item() is stranger


def test_names_are_compared_where_both_have_some():
    for names in (('a', 'b', 'c'), ('a', 'b'), None, ('0', '1', '2')):
        decisions().require_names(names, 'w.pth')
    decisions(classes=('0', '1', '2')).require_names(('a', 'b', 'c'), 'w.pth')
    with pytest.raises(UserError, match=r"w\.pth: .*, 'b' in the place of 'c' \(number 1\)"):
        decisions().require_names(('a', 'c', 'b'), 'w.pth')


def test_parts_that_are_left_out():
    decided = decisions(temperatures=(None,), coverage=None, quantiles=(), ood_threshold=None).apply(LOGITS)
    assert decided.probabilities == pytest.approx(np.exp(LOGITS))
    assert decided.sets is decided.ood_scores is decided.ood is None


@pytest.mark.parametrize('logits', [LOGITS[0], LOGITS[:, :2], np.full((1, 3), np.nan), np.array([[0, np.inf, 0]])])
def test_logits_that_nothing_can_be_decided_from(logits):
    with pytest.raises(UserError, match='logits'):
        decisions().apply(logits)


def test_lines():
    rest = 'fitted on 100 images of validation.'
    largest = 'the class with the largest probability is predicted'
    assert decisions().lines() == [
        f'Scores are calibrated (temperature 2), {largest}, sets cover 90%: {rest}',
        'Left out: nothing of note.',
    ]
    several = 'Scores are calibrated (temperature 1 to 2), labels are decided by youden, sets cover 90%: '
    assert SEVERAL.lines()[0] == several + rest
    divided = decisions(temperatures=(1.0,), coverage=None, quantiles=())  # an ensemble's
    assert divided.lines()[0] == f'Scores are calibrated, {largest}: {rest}'
    nothing = decisions(multi_label=True, temperatures=(None,) * 3, points=(None,) * 3, quantiles=(None,) * 3)
    assert nothing.lines()[0] == f'Scores are uncalibrated, no label is decided, sets cover 90%: {rest}'


ONE = decisions(multi_label=True, classes=('a',), points=(None,), part='x' * 200)


@pytest.mark.parametrize('made', [decisions(), SEVERAL, TWO, ONE, decisions(coverage=None, quantiles=())])
def test_through_json(made):
    assert Decisions.from_dict(json.loads(json.dumps(made.to_dict())), 'file') == made


@pytest.mark.parametrize(
    ('made', 'change', 'named'),
    [
        (decisions(), dict(format=2), 'format 2, known is 1'),
        (decisions(), dict(kind='ranking'), "kind 'ranking'"),
        (decisions(), dict(classes=['a', 1, 'c']), 'classes'),
        (decisions(), dict(classes='abc'), 'classes'),
        (decisions(), dict(classes=['a']), 'classes'),
        (decisions(), dict(temperatures=[0.0]), 'temperatures'),
        (decisions(), dict(temperatures=[float('nan')]), 'temperatures'),
        (decisions(), dict(temperatures=[True]), 'temperatures'),
        (decisions(), dict(temperatures=[1.0, 1.0, 1.0]), 'temperatures'),
        (SEVERAL, dict(temperatures=[1.0]), 'temperatures'),
        (TWO, dict(points=[None]), 'points'),
        (TWO, dict(points=[dict(rule='youden', threshold=0.5)]), 'points'),
        (TWO, dict(points=[dict(rule='__import__', threshold=0.5, sensitivity=1.0, specificity=1.0)]), 'points'),
        (TWO, dict(points=[dict(rule='f1', threshold=1.5, sensitivity=1.0, specificity=1.0)]), 'points'),
        (SEVERAL, dict(points=[]), 'points'),
        (decisions(), dict(coverage=1.0), 'coverage'),
        (decisions(), dict(coverage=0.0), 'coverage'),
        (decisions(), dict(samples=0), 'samples'),
        (decisions(), dict(coverage=None), 'quantiles'),
        (decisions(), dict(quantiles=[2.0]), 'quantiles'),
        (decisions(), dict(ood_threshold='high'), 'ood_threshold'),
        (decisions(), dict(ood_threshold=float('inf')), 'ood_threshold'),
        (decisions(), dict(part='x\x1b[2J'), 'part'),
        (decisions(), dict(part='x' * 201), 'part'),
        (decisions(), dict(samples=-1), 'samples'),
        (decisions(), dict(weights='../x'), 'weights'),
        (decisions(), dict(left_out=['y' * 3000]), 'left_out'),
    ],
)
def test_wrong_entries_are_named(made, change, named):
    with pytest.raises(UserError, match=f'^file: its decisions .*{named}'):
        Decisions.from_dict({**made.to_dict(), **change}, 'file')


def test_missing_entries_and_other_types():
    values = decisions().to_dict()
    del values['quantiles']
    with pytest.raises(UserError, match='lack quantiles'):
        Decisions.from_dict(values, 'file')
    for other in (None, [], 'text', 3):
        with pytest.raises(UserError, match='no dictionary'):
            Decisions.from_dict(other, 'file')
