"""Find class names that are likely two spellings of one class."""

import difflib
import re
import unicodedata
from collections.abc import Mapping
from itertools import combinations

from mmdensenet.datasets.table import number_of
from mmdensenet.errors import UserError

#: a class is taken for a misspelling if it has at most this share of the images of the one it looks like
RARE = 0.02
SIMILAR = 0.82


def require_no_typo(counts: Mapping[str, int], where: str, remedy: str) -> None:
    """Raise UserError for two names that are likely one.

    Names that differ in case, spaces and punctuation only, numbers that are equal (1 and 01), and rare names that look
    like a frequent one. Names that differ in their digits (grade1, grade2) are several.

    Args:
        counts: images by class.
        where: what the names stand in, for the message.
        remedy: how it is put right.
    """
    for one, other in combinations(counts, 2):
        rare, often = sorted((one, other), key=lambda name: counts[name])
        if (
            _plain(one) == _plain(other)
            or number_of(one) == number_of(other)
            or (counts[rare] <= max(1, RARE * counts[often]) and counts[often] >= 20 and _similar(one, other))
        ):
            raise UserError(
                f'{where} {rare!r} ({counts[rare]} images) is likely {often!r} ({counts[often]}), spelt otherwise: '
                f'{remedy}, or name all classes if they are two, labels=A,B,C.'
            )


def _plain(name: str) -> str:
    composed = unicodedata.normalize('NFKC', name)  # an accent may be a character of its own, as macOS writes it
    return ''.join(char for char in composed.casefold() if char.isalnum()) or name


def _similar(one: str, other: str) -> bool:
    if re.sub(r'\D', '', one) != re.sub(r'\D', '', other):
        return False
    return difflib.SequenceMatcher(None, _plain(one), _plain(other)).ratio() >= SIMILAR
