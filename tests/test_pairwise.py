"""tests/support/pairwise.py: what it leaves out would not be missed elsewhere."""

import itertools

import pytest
from support.pairwise import pairwise

TABLES = [([0, 1, 2], [[3], [4], [5]], [True, False], [True, False]), (['a', 'b'], [1, 2]), (range(5), range(2), 'xyz')]


@pytest.mark.parametrize('values', TABLES)
def test_every_pair_is_there(values):
    rows = pairwise(*values)
    for (i, left), (j, right) in itertools.combinations(enumerate(values), 2):
        assert all(any(row[i] == a and row[j] == b for row in rows) for a in left for b in right)
    largest, second = sorted(map(len, values))[-2:]
    assert largest * second <= len(rows) <= 1.5 * largest * second


def test_rows_that_are_not_allowed():
    rows = pairwise([1, 2], [1, 2], [1, 2], allowed=lambda a, b, c: a != b)
    assert {(a, b) for a, b, _ in rows} == {(1, 2), (2, 1)} and {(a, c) for a, _, c in rows} >= {(1, 1), (2, 2)}
