import numpy as np
import pytest

from mmdensenet.apis.fit.part_labels import require_labels
from mmdensenet.apis.fit.samples import Samples
from mmdensenet.errors import UserError


def said(targets, classes, part='val part', groups=None):
    targets, lines = np.asarray(targets), []
    names = [f'{i}.png' for i in range(len(targets))]
    require_labels(
        Samples('root', names, names, list(classes), targets, groups), np.ones(len(names), bool), part, lines
    )
    return lines


def test_what_a_small_part_lacks_is_said_with_what_follows():
    assert said([0] * 5 + [1] * 5, 'ab') == []
    assert said([0] * 9 + [1] * 4, 'ab') == [
        'the val part has few images of a kind, so that best epoch, thresholds and temperature are uncertain: b 4'
    ]
    assert said([0] * 9 + [1] * 4, 'ab', 'test part') == [
        'the test part has few images of a kind, so that figures are uncertain: b 4'
    ]
    assert said([0] * 9 + [1] * 9, 'abc') == [
        'the val part has no image of c: the mean recall counts it as 0, so that it is at most 67%'
    ]
    assert said([0] * 9 + [1] * 9, 'abc', 'test part') == ['the test part has no image of c']
    assert said([0] * 9 + [1] * 1, 'ab', 'train part') == said([0, 1], 'ab', 'train part') == []


def test_labels_with_few_images_with_or_without_them():
    several = np.array([[1, 1, 0], *[[0, 1, 0]] * 9, *[[1, 1, -1]] * 6, [0, 0, 0]], np.float32)
    assert said(several, 'abc') == [
        'the val part has no image of c, and is left out of the mean of all labels',
        'the val part has few images of a kind, so that best epoch, thresholds and temperature are uncertain: '
        'without b 1',
    ]
    assert said(several, 'abc', 'train part') == ['the train part has no image of c, which cannot be learnt']
    unknown = np.array([[1, 1], [0, -1], [1, 1], [0, 1]] * 5, np.float32)
    assert said(unknown, 'ab') == [
        'the val part has few images of a kind, so that best epoch, thresholds and temperature are uncertain: '
        'without b 0',
    ]


def test_what_would_be_nan_is_an_error():
    with pytest.raises(UserError, match='the val part has no image: more images are needed'):
        require_labels(Samples('root', ['1'], ['1'], ['a', 'b'], np.array([0])), np.zeros(1, bool), 'val part', [])
    with pytest.raises(
        UserError, match='the val part has no two kinds of labels to tell apart: more groups are needed'
    ):
        said([0, 0, 0], 'ab', groups=['x', 'y', 'z'])
    with pytest.raises(UserError, match='no two kinds of labels'):
        said(np.array([[1, 0], [1, -1], [1, 0]], np.float32), 'ab')
    with pytest.raises(UserError, match='the train part has no image of b'):
        said([0, 0, 2], 'abc', 'train part')
