"""Parts of the images by a column of their table."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

#: the most values of a column with a subgroup each; more numbers are divided into quarters
MOST_NUMBERS, MOST_VALUES = 10, 20
MISSING, OTHERS = 'missing', 'others'


def subgroups_of(values: Sequence) -> list[tuple[str, np.ndarray]]:
    """Each value as text, with a mask (N,).

    Numbers with more than ten values are divided into quarters. Of more than 20 texts, all but the most frequent ones
    are 'others'. None, '' and NaN are 'missing'.

    >>> [(name, which.tolist()) for name, which in subgroups_of(['f', 'm', '', 'f'])]
    [('f', [True, False, False, True]), ('m', [False, True, False, False]), ('missing', [False, False, True, False])]
    """
    texts = ['' if value is None else str(value).strip() for value in values]
    texts = ['' if text.lower() in ('nan', 'none', 'na') else text for text in texts]
    there = np.array([text != '' for text in texts])
    names = np.array(texts, dtype=object)
    try:
        numbers = np.array([float(text) if text else np.nan for text in texts])
    except ValueError:
        numbers = None
    if numbers is not None and len(np.unique(numbers[there])) > MOST_NUMBERS:
        parts = _quarters(numbers, there)
    else:
        if numbers is not None:  # 1 and 1.0 are one value
            names[there] = [f'{number:g}' for number in numbers[there]]
        counts = Counter(names[there].tolist())
        frequent = [name for name, _ in counts.most_common(MOST_VALUES)]
        frequent.sort(key=(lambda name: float(name)) if numbers is not None else str)
        parts = [(name, names == name) for name in frequent]
        if len(counts) > MOST_VALUES:
            parts.append((OTHERS, there & ~np.isin(names, frequent)))
    return parts + ([] if there.all() else [(MISSING, ~there)])


def _quarters(numbers: np.ndarray, there: np.ndarray) -> list[tuple[str, np.ndarray]]:
    inner = np.unique(np.quantile(numbers[there], [0.25, 0.5, 0.75]))
    place = np.searchsorted(inner, numbers, side='right')  # below the first, from it on below the second, ...
    parts = []
    for number in range(len(inner) + 1):
        which = there & (place == number)
        if which.any():
            low, high = numbers[which].min(), numbers[which].max()
            parts.append((f'{low:g}' if low == high else f'{low:g} to {high:g}', which))
    return parts
