"""Names that are likely one are named so that they can be told apart."""

import unicodedata

import pytest

from mmdensenet.datasets.class_lists import ClassList, number_folders, require_same_classes
from mmdensenet.datasets.spelling import apart, plain, require_one_spelling, similar
from mmdensenet.errors import UserError

COMPOSED, DECOMPOSED = 'béé', unicodedata.normalize('NFD', 'béé')


def test_accents_of_macos_are_the_same_to_the_eye():
    assert COMPOSED != DECOMPOSED and plain(COMPOSED) == plain(DECOMPOSED)
    assert apart(COMPOSED, DECOMPOSED) == r"'b\xe9\xe9' and 'be\u0301e\u0301'"
    assert apart('Bee', 'bee') == "'Bee' and 'bee'"
    with pytest.raises(UserError, match=r"'be\\u0301e\\u0301' and 'b\\xe9\\xe9' are likely one class"):
        require_same_classes([ClassList('train', ('ant', COMPOSED)), ClassList('val', ('ant', DECOMPOSED))])
    with pytest.raises(UserError, match=r'spelt otherwise \(.b.*u0301.* and .*xe9.*\): rename it'):
        number_folders(['ant', DECOMPOSED], ['ant', COMPOSED], 'd')


@pytest.mark.parametrize(('name', 'found'), [('Bee', 'bee'), ('bee ', 'bee'), ('bees', 'bee'), ('zebra', None)])
def test_what_a_name_may_be(name, found):
    assert similar(name, ['ant', 'bee']) == found


@pytest.mark.parametrize('other', ['Bee', 'bee ', 'BEE'])
def test_two_spellings_in_one_part(other):
    with pytest.raises(UserError, match='is likely the class of'):
        require_one_spelling(['ant', 'bee', other], 'd')


def test_letters_and_numbers_are_classes_of_their_own():
    require_one_spelling(['A', 'a', 'b', 'B', '1', '01', 'ant', 'ants'], 'd')
