"""mmdensenet.results.scores: files of predictions with true labels."""

import json

import numpy as np
import pytest

from mmdensenet.errors import UserError
from mmdensenet.results.scores import read_scores


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
