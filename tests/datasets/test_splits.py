import numpy as np
import pytest

from mmdensenet.datasets import assign_parts
from mmdensenet.errors import UserError


@pytest.fixture
def patients():
    """2,000 images of 400 patients, with a common, a rare and a very rare label that patients tend to have or not."""
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 400, 2000)
    tendency = rng.random((400, 3)) < [0.4, 0.1, 0.03]
    return (tendency[groups] & (rng.random((2000, 3)) < 0.8)).astype(int), [f'p{group}' for group in groups]


@pytest.mark.parametrize('fractions', [[0.8, 0.1, 0.1], [0.7, 0.3], [1] * 5])
def test_groups_stay_whole_and_labels_keep_their_shares(patients, fractions):
    labels, groups = patients
    parts = assign_parts(fractions, labels, groups)
    assert all(len(set(parts[np.array(groups) == group])) == 1 for group in set(groups))
    for part, share in enumerate(np.array(fractions) / sum(fractions)):
        assert (parts == part).mean() == pytest.approx(share, abs=0.01)
        positive = labels[parts == part].sum(0) / labels.sum(0)
        assert positive == pytest.approx(np.full(3, share), abs=0.05), 'also of the rarest label'


def test_without_groups_each_class_is_divided_exactly():
    labels = np.eye(3)[np.repeat([0, 1, 2], [50, 30, 10])]
    parts = assign_parts([0.8, 0.2], labels)
    assert [int((parts[labels[:, c] == 1] == 1).sum()) for c in range(3)] == [10, 6, 2]


def test_only_the_number_counts_without_labels():
    parts = assign_parts([0.5, 0.5], groups=['a'] * 5 + ['b'] * 3 + ['c'] * 2)
    assert (parts == 0).sum() == 5
    assert np.bincount(assign_parts([3, 1], count=8)).tolist() == [6, 2]


def test_seed():
    labels = np.eye(2)[np.arange(100) % 2]
    first, again, other = (assign_parts([0.5, 0.5], labels, seed=seed) for seed in (0, 0, 1))
    assert (first == again).all() and (first != other).any()


def test_shares_of_whole_numbers_are_taken_in_their_order():
    assert assign_parts([0.7, 0.3], count=10, seed=None).tolist() == [0] * 7 + [1] * 3


def test_mistakes():
    with pytest.raises(UserError, match='0 samples cannot be divided into 2 parts'):
        assign_parts([0.5, 0.5], count=0)
    with pytest.raises(UserError, match='2 groups cannot be divided into 3 parts'):
        assign_parts([1, 1, 1], groups=['a', 'b', 'b'])
    with pytest.raises(UserError, match='give positive numbers'):
        assign_parts([1, 0], count=4)
