"""Suggest a similar name or path for one that does not exist."""

import difflib
import itertools
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

#: how many files of a folder are compared: one with all images of a data set may have millions
MOST_NAMES = 10_000


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """The end of a message: ``' Did you mean X?'`` with the most similar choice, or nothing.

    >>> did_you_mean('trian', ['train', 'test'])
    ' Did you mean train?'
    """
    close = _closest(word, choices)
    return f' Did you mean {close}?' if close else ''


def similar_path(path: str | os.PathLike, suffixes: Sequence[str] = ()) -> str:
    """Suggest a file or folder in the same place for a path that does not exist, as :func:`did_you_mean` does.

    Where a folder on the way does not exist, the whole path with the folder that may have been meant.

    Args:
        suffixes: endings of the files that are offered; none for all.
    """
    path = Path(path).expanduser()
    known = path
    while not known.parent.is_dir():
        if known.parent == known:
            return ''
        known = known.parent
    close = _closest(known.name, _names(known.parent, suffixes if known == path else ()))
    if close is None:
        return ''
    if known == path:
        return f' Did you mean {close}?'
    meant = known.parent / close / path.relative_to(known)
    if not meant.exists():
        last = _closest(meant.name, _names(meant.parent, suffixes)) if meant.parent.is_dir() else None
        meant = meant.parent / last if last else known.parent / close
    return f' Did you mean {meant}?'


def _names(folder: Path, suffixes: Sequence[str]) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in itertools.islice(entries, MOST_NAMES)]
    except OSError:
        return []
    return [name for name in names if not suffixes or name.lower().endswith(tuple(suffixes))]


def _closest(word: str, choices: Iterable[str]) -> str | None:
    """Upper and lower case are the same; of names that are as similar, the one of the same length, then the first."""
    by_lower: dict[str, str] = {}
    for choice in sorted(choices):
        by_lower.setdefault(choice.lower(), choice)
    close = difflib.get_close_matches(word.lower(), by_lower, n=1)
    return by_lower[close[0]] if close else None
