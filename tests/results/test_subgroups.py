"""mmdensenet.results.subgroups: every image is in one part, and the parts have the names of their values."""

import numpy as np
import pytest

from mmdensenet.results.subgroups import subgroups_of


def names_and_counts(values) -> list[tuple[str, int]]:
    parts = subgroups_of(values)
    assert (np.sum([which for _, which in parts], axis=0) == 1).all(), 'each image once'
    return [(name, int(which.sum())) for name, which in parts]


@pytest.mark.parametrize(
    ('values', 'expected'),
    [
        (['f', 'm', 'f'], [('f', 2), ('m', 1)]),
        ([1, 1.0, '1.0', 2, None], [('1', 3), ('2', 1), ('missing', 1)]),
        ([True, False], [('False', 1), ('True', 1)]),
        ([float('nan'), 'a', ' a '], [('a', 2), ('missing', 1)]),
        (list(range(40)), [('0 to 9', 10), ('10 to 19', 10), ('20 to 29', 10), ('30 to 39', 10)]),
        (list(range(10)), [(f'{i}', 1) for i in range(10)]),
        (list(range(11)), [('0 to 2', 3), ('3 to 4', 2), ('5 to 7', 3), ('8 to 10', 3)]),
        (list('abcdefghijklmnopqrst'), [(letter, 1) for letter in 'abcdefghijklmnopqrst']),
        ([5] * 30 + list(range(11, 22)) + [''], [('5', 30), ('11 to 21', 11), ('missing', 1)]),
    ],
)
def test_values(values, expected):
    assert names_and_counts(values) == expected


def test_many_values():
    values = [f'site {i:02}' for i in range(30) for _ in range(30 - i)]
    parts = names_and_counts(values)
    assert len(parts) == 21 and parts[0] == ('site 00', 30) and parts[-1] == ('others', sum(range(1, 11)))
