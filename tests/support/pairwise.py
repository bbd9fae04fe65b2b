"""A part of a product of parameters in which any two values still stand together."""

import itertools
from collections.abc import Callable, Sequence


def pairwise(*values: Sequence, allowed: Callable[..., bool] = lambda *row: True) -> list[tuple]:
    """Rows of one value of each argument: each two values of different arguments are in one, if a row may have them.

    Args:
        allowed: whether there may be a row of these values.
    """
    rows = [
        row
        for row in itertools.product(*(range(len(each)) for each in values))
        if allowed(*(each[i] for each, i in zip(values, row)))
    ]
    pairs = {row: set(itertools.combinations(enumerate(row), 2)) for row in rows}
    left = set().union(*pairs.values())
    chosen = []
    while left:
        chosen.append(max(rows, key=lambda row: len(pairs[row] & left)))
        left -= pairs[chosen[-1]]
    return [tuple(each[i] for each, i in zip(values, row)) for row in chosen]
