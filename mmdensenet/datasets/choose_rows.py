"""Which rows of a table are of a part, and what belongs together in it."""

import os
from numbers import Integral

import numpy as np

from mmdensenet.errors import UserError

from .spelling import require_one_id
from .splits import assign_parts
from .table import Table, canonical, is_missing


def group_names(table: Table, column: str) -> list[str]:
    """The groups of the rows, such as patients: 1 for 1.0, and each row without one for itself.

    Raises:
        UserError: for two names that are likely one.
    """
    names = [canonical(row[column]) for row in table.rows]
    require_one_id([name for name in names if not is_missing(name)], f'{table.file}: the column {column!r}')
    return [f'row {line}' if is_missing(name) else name for name, line in zip(names, table.lines)]


def choose_rows(
    table: Table,
    image_column: str,
    onehot: np.ndarray | None,
    split: str | None,
    split_column: str | None,
    split_by: dict | None,
) -> list[int]:
    """The rows of one part.

    Args:
        onehot: (N, L) of 0 and 1, to be stratified.
        split, split_column, split_by: see :class:`mmdensenet.datasets.CSVDataset`.

    Raises:
        UserError: for a part that is not there or spelt otherwise, and an image of two groups.
    """
    if split_column is not None:
        split = canonical(split)
        of_row = [canonical(row[split_column]) for row in table.rows]
        other = next((part for part in {*of_row} - {split} if part.casefold() == split.casefold()), None)
        if other is not None:
            raise UserError(
                f'{table.file}: {split_column!r} has {other!r} beside split={split!r}: these rows would be left out; '
                'write both alike.'
            )
        return [i for i, part in enumerate(of_row) if part == split]
    if split_by is None:
        return list(range(len(table.rows)))
    rule = dict(split_by)
    group, stratify, seed = rule.pop('group', None), rule.pop('stratify', True), rule.pop('seed', 0)
    folds, fold, fractions = rule.pop('folds', None), rule.pop('fold', None), rule.pop('fractions', None)
    if rule or (folds is None) == (fractions is None) or (folds is None) != (fold is None):
        raise UserError('dataset.split_by: give fractions, or folds and fold; beside them group, stratify and seed.')
    if folds is not None and not (isinstance(folds, Integral) and isinstance(fold, Integral)):
        raise UserError(f'dataset.split_by: folds={folds!r} and fold={fold!r}: give whole numbers.')
    names = list(fractions) if folds is None else ['train', 'val']
    if split not in names or (folds is not None and not 0 <= fold < folds):
        raise UserError(f'dataset.split={split!r}: choose {", ".join(map(repr, names))}; fold from 0 to folds - 1.')
    parts = assign_parts(
        [1] * folds if folds is not None else list(fractions.values()),
        labels=onehot if stratify else None,
        groups=_together(table, image_column, group),
        count=len(table.rows),
        seed=seed,
    )
    if folds is None:
        return np.flatnonzero(parts == names.index(split)).tolist()
    return np.flatnonzero((parts == fold) == (split == 'val')).tolist()


def _together(table: Table, image_column: str, group: str | None) -> list[str] | None:
    """What is never divided: groups, or the rows of one image; None where every row is an image for itself."""
    images = [os.path.normpath(row[image_column].replace('\\', '/')) for row in table.rows]
    if group is None:
        return images if len(set(images)) < len(images) else None
    names = group_names(table, group)
    alone = [is_missing(canonical(row[group])) for row in table.rows]
    first: dict[str, int] = {}
    for i, image in enumerate(images):
        before = first.setdefault(image, i)
        if alone[before] and alone[i]:
            names[i] = names[before]
        elif names[before] != names[i]:
            here, there = ('none' if alone[at] else repr(names[at]) for at in (i, before))
            raise UserError(
                f'{table.where(i)}: {image} is of {group} {here}, and of {there} in row {table.lines[before]}: it '
                'would be in two parts.'
            )
    return names
