"""Checklists have every item; known facts are filled in, and the others are marked for the author."""

import re

import pytest

from mmdensenet.analysis.checklists import CHECKLISTS, write_checklist

LETTERS = dict(a=1, b=2, c=3, d=4, e=5, f=6, g=7)


def items(name):
    return [item for _, items in CHECKLISTS[name].sections for item in items]


@pytest.mark.parametrize(('name', 'last', 'count'), [('claim', 44, 44), ('tripod', 27, 52), ('stard', 30, 34)])
def test_numbers_of_the_items(name, last, count):
    """Each number from 1 on, with its letters in order."""
    numbers = [re.fullmatch(r'(\d+)([a-g]?)', number).groups() for number, _, _ in items(name)]
    assert len(numbers) == count and sorted({int(n) for n, _ in numbers}) == list(range(1, last + 1))
    for (n, letter), (before, letter_before) in zip(numbers[1:], numbers):
        if n == before:
            assert LETTERS[letter] == LETTERS[letter_before] + 1
        else:
            assert int(n) == int(before) + 1 and letter in ('', 'a')


@pytest.mark.parametrize(
    ('name', 'topics'),
    [
        (
            'claim',
            {'13': 'acquired', '20': 'disjoint', '21': 'sample', '27': 'Ensembl', '33': 'external', '34': 'trial'},
        ),
        (
            'tripod',
            {'3c': 'inequalit', '7': 'quality', '13': 'imbalance', '14': 'fairness', '18f': 'code', '22': 'full'},
        ),
        ('stard', {'12b': 'reference', '15': 'without a decision', '21b': 'Other diag', '23': 'Cross', '28': 'Regist'}),
    ],
)
def test_topics_have_the_numbers_of_the_published_tables(name, topics):
    asked = {number: text for number, text, _ in items(name)}
    assert {number: word for number, word in topics.items() if word not in asked[number]} == {}


@pytest.mark.parametrize('name', CHECKLISTS)
def test_without_facts_all_is_the_authors(name):
    text = write_checklist(name, {})
    assert text.count('| **author** |') == len(items(name))
    known = write_checklist(name, dict(model='a | b', metrics='AUROC.'))
    assert 'a \\| b' in known and 'AUROC.' in known and known.count('**author**') < text.count('**author**')
