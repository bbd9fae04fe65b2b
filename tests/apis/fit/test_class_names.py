"""mmdensenet.apis.fit.class_names: which two names are one, misspelt."""

import pytest

from mmdensenet.apis.fit.class_names import require_no_typo
from mmdensenet.errors import UserError


@pytest.mark.parametrize(
    'counts',
    [
        {'Bee': 40, 'bee': 40},
        {'ice cream': 5, 'Ice-Cream': 9},
        {'1': 9, '01': 9},
        {'caf\u00e9': 7, 'cafe\u0301': 7},
        {'squirrel': 100, 'squirel': 2},
    ],
)
def test_one_class(counts):
    rare, often = sorted(counts, key=counts.get)
    with pytest.raises(UserError) as error:
        require_no_typo(counts, 'the column label:', 'rename it')
    assert str(error.value) == (
        f'the column label: {rare!r} ({counts[rare]} images) is likely {often!r} ({counts[often]}), spelt otherwise: '
        'rename it, or name all classes if they are two, labels=A,B,C.'
    )


@pytest.mark.parametrize(
    'counts',
    [
        {'grade1': 500, 'grade2': 1},
        {'squirrel': 100, 'squirel': 30},
        {'squirrel': 19, 'squirel': 1},
        {'cat': 100, 'dog': 1},
        {'+': 5, '-': 5},
    ],
)
def test_two_classes(counts):
    require_no_typo(counts, 'the column label:', 'rename it')
