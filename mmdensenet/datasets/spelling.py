"""Names of classes that are likely one name, spelt differently."""

import difflib
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from mmdensenet.errors import UserError

from .stated_classes import ClassListError


def require_one_spelling(folders: Iterable[str], folder: str) -> None:
    """Refuse ``Bee`` beside ``bee``, unless both are stated; letters of an alphabet are two classes."""
    for name, other in _pairs(sorted(folders), lambda name: unicodedata.normalize('NFKC', name).casefold().strip()):
        if len(name) > 1:
            raise ClassListError(
                f'{Path(folder, name)} is likely the class of {Path(folder, other)} ({apart(name, other)}): put both '
                'into one folder, or name all classes if they are two, metainfo=dict(classes=[...]).'
            )


def similar(name: str, choices: Sequence[str]) -> str | None:
    """The one of the choices that ``name`` may be a misspelling of."""
    alike = [choice for choice in choices if plain(choice) == plain(name)]
    return alike[0] if alike else next(iter(difflib.get_close_matches(name, choices, n=1)), None)


def plain(text: str) -> str:
    text = unicodedata.normalize('NFKC', text)
    return ''.join(char for char in text.casefold() if char.isalnum()) or text


def look_alike(one: str, other: str) -> bool:
    return one != other and unicodedata.normalize('NFKC', one) == unicodedata.normalize('NFKC', other)


def apart(one: str, other: str) -> str:
    """Two names so that they can be told apart: macOS writes an accent as a character of its own."""
    return ' and '.join(map(ascii if look_alike(one, other) else repr, (one, other)))


def two_spellings(names: Iterable[str]) -> tuple[str, str] | None:
    """Two names that are likely one: Cat and cat, an accent as one character and as two; None if there are none."""
    return next(_pairs(sorted(names), lambda name: unicodedata.normalize('NFKC', name).casefold()), None)


def require_one_id(ids: Iterable[str], where: str) -> None:
    """Refuse two groups that are likely one: P7 and p7, 007 and 7."""
    for name, other in _pairs(dict.fromkeys(ids), bare_id):
        raise UserError(
            f'{where} has {other!r} and {name!r}, which are likely one: write both alike, or rename one if they are '
            'two.'
        )


def bare_id(name: str) -> str:
    """What ids that are likely one have in common.

    >>> bare_id('P007') == bare_id('p7')
    True
    """
    return re.sub(r'\A(\D*)0*(\d+)\Z', r'\1\2', name.casefold())  # not the digits within hexadecimal ids


def _pairs(names: Iterable[str], bare: Callable[[str], str]) -> Iterator[tuple[str, str]]:
    """Each name of which ``bare`` makes the same as of one before it, and that one."""
    known: dict[str, str] = {}
    for name in names:
        if (other := known.setdefault(bare(name), name)) != name:
            yield name, other
