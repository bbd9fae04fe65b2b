"""Samples: images before they are read."""

import numpy as np
import pytest

from mmdensenet.apis.fit.samples import Samples, listed, refuse
from mmdensenet.errors import UserError


def samples(targets, **more) -> Samples:
    names = [f'{i}.png' for i in range(len(targets))]
    return Samples('root', names, names, ['cat', 'dog'], np.array(targets), **more)


def test_one_class_an_image():
    found = samples([0, 1, 1])
    assert not found.multi_label and found.onehot.tolist() == [[1, 0], [0, 1], [0, 1]]
    assert found.counts() == ['cat 1', 'dog 2']


def test_labels_that_are_soft_or_not_known():
    found = samples([[0.6, -1], [0.5, 1], [1, 0]])
    assert found.multi_label and found.onehot.tolist() == [[1, 0], [0, 1], [1, 0]], 'positive is above a half'
    assert found.counts() == ['cat 2', 'dog 1 (1 not known)']


def test_some_of_them():
    all_of = samples([0, 1, 1], groups=list('abc'), subgroups=dict(sex=list('FMF')), alone=True, image_column='id')
    found = all_of.take(np.array([2, 0]))
    assert (found.files, found.images) == (['2.png', '0.png'], ['2.png', '0.png']) and len(found) == 2
    assert (found.targets.tolist(), found.groups, found.subgroups) == ([1, 0], ['c', 'a'], dict(sex=['F', 'F']))
    assert found.parts is None and found.alone and found.image_column == 'id'


def test_nobody_to_ask():
    with pytest.raises(UserError, match=r'^What\? Say it: missing=a, or b, c\.$'):
        refuse('What?', 'missing', ('a', 'b', 'c'))
    with pytest.raises(UserError, match=r'^What\? Say it: missing=a\.$'):
        refuse('What?', 'missing', ('a',))


def test_lists_are_cut():
    assert listed(range(3)) == '0, 1, 2' and listed(range(5), most=2) == '0, 1 and 3 more'
