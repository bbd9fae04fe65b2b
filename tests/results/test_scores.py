"""mmdensenet.results.scores: files of predictions with true labels."""

import json

import numpy as np
import pytest

from mmdensenet.errors import UserError
from mmdensenet.results.scores import Scores, join_scores, read_scores


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
    assert read_scores(file, False).classes == ['0', '1'] and not found.augmented and found.logits is None
    npz = tmp_path / 'p.npz'
    np.savez(npz, pred_score=np.full((2, 3), 0.5), gt_score=np.array([[1, 0.5, -1], [0, 0.25, 0.75]]))
    assert read_scores(npz, True).truth.tolist() == [[1, 0, -1], [0, 0, 1]]
    np.savez(npz, pred_score=np.full((2, 3), 0.5), gt_label=np.array(['[0, 2]', '1']))
    assert read_scores(npz, True).truth.tolist() == [[1, 0, 1], [0, 1, 0]]
    for label in (-1, 3):
        np.savez(npz, pred_score=np.full((2, 3), 0.5), gt_label=np.array(['[0, 2]', f'[1, {label}]']))
        with pytest.raises(UserError, match=f'has the label {label}, and the model only 3 classes'):
            read_scores(npz, True)


@pytest.mark.parametrize(
    ('name', 'content', 'message'),
    [
        ('p.txt', '', 'is no file of predictions'),
        ('p.json', '{', 'is no file of predictions'),
        ('p.npz', 'x', 'is no file of predictions'),
        ('p.json', '[{"pred_score": [0.5, 0.5]}]', 'has no true labels'),
        ('p.json', '[{"pred_score": [0.5, 0.5], "gt_label": 2}]', 'has the label 2, and the model only 2'),
        ('p.json', '[{"pred_score": [0.5, 0.5], "gt_label": 5}, {"pred_score": [0, 1], "gt_label": -1}]', 'label 5,'),
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


def test_logits_and_augmentation(tmp_path):
    npz = tmp_path / 'p.npz'
    columns = dict(pred_score=np.full((2, 2), 0.5), gt_label=np.array([-1, 1]), tta=np.array([True, True]))
    np.savez(npz, logits=np.array([[0.25, 0.5], [1, 2]], np.float32), **columns)
    found = read_scores(npz, False)
    assert found.logits.tolist() == [[1, 2]] and found.logits.dtype == np.float64
    assert found.augmented and not found.multi_label and found.threshold == 0.5
    np.savez(npz, logits=np.ones((2, 3)), **columns)
    with pytest.raises(UserError, match='logits of other classes'):
        read_scores(npz, False)


def part(groups=None, logits=None, names='ab'):
    scores = np.array([[0.75, 0.5], [0.25, 0.125], [0.125, 0.875]])[:, : len(names)]
    return Scores(scores, np.array([0, 0, 1]), np.arange(3), list('pqr'), list(names), groups=groups, logits=logits)


def test_some_of_them():
    whole = part(np.array([4, 4, 2]), np.arange(6.0).reshape(3, 2))
    for which in ([0, 2], np.array([True, False, True])):
        some = whole.take(which)
        assert (some.paths, some.index.tolist(), some.truth.tolist()) == (['p', 'r'], [0, 2], [0, 1])
        assert some.groups.tolist() == [4, 2] and some.logits.tolist() == [[0, 1], [4, 5]]
        assert some.scores.tolist() == whole.scores[[0, 2]].tolist() and len(some) == 2
    assert part().take([1]).groups is None and part().take([1]).logits is None


def test_predicted_and_targets():
    one = part()
    assert not one.multi_label and not one.augmented and one.predicted.tolist() == [0, 0, 1]
    assert one.targets.tolist() == [[1, 0], [1, 0], [0, 1]]
    many = part()
    many.truth = np.array([[1, 0], [0, -1], [0, 1]])
    assert many.multi_label and many.targets is many.truth
    assert many.predicted.tolist() == [[True, True], [False, False], [False, True]], 'from the threshold on'


def test_groups_of_joined_parts_stay_apart():
    logits = np.arange(6.0).reshape(3, 2)
    one, other = part(np.array([7, 7, 3]), logits), part(np.array([3, 5, 9]), -logits)
    whole = join_scores([one, other, one])
    assert whole.groups.tolist() == [1, 1, 0, 2, 3, 4, 6, 6, 5]
    assert whole.logits.tolist() == [*logits.tolist(), *(-logits).tolist(), *logits.tolist()]
    assert whole.paths == ['p', 'q', 'r'] * 3 and whole.truth.tolist() == [0, 0, 1] * 3
    without = join_scores([one, part()])
    assert without.groups is None and without.logits is None
    for parts in ([], [one, part(names='ac')]):
        with pytest.raises(UserError, match='other classes'):
            join_scores(parts)
