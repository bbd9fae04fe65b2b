"""Find the columns of labels in a table, and their kind, with the reason for each."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from mmdensenet.datasets.table import Table, canonical, is_missing, number_of
from mmdensenet.errors import UserError

from .columns import FOLD_NAMES, SPLIT_NAMES, plain
from .samples import listed

#: common names, without spaces, case and punctuation
LABEL_NAMES = (
    'label', 'labels', 'class', 'classes', 'classname', 'target', 'targets', 'dx', 'diagnosis', 'findinglabels',
    'category', 'finding', 'findings', 'disease', 'species', 'breed', 'grade', 'groundtruth', 'gt',
)  # fmt: skip
#: columns of 0 and 1 that describe the image or the person
DESCRIPTIONS = (
    'sex', 'gender', 'age', 'male', 'female', 'view', 'frontal', 'lateral', 'frontallateral', 'appa', 'site', 'fold',
    'index', 'width', 'height', 'x', 'y', 'xmin', 'ymin', 'xmax', 'ymax', 'followup',
)  # fmt: skip
NO_LABEL = ('nofinding', 'nofindings', 'nolabel')
MOST_CLASSES = 1000


@dataclass
class LabelColumns:
    """The columns of the labels.

    Attributes:
        columns: one, or one for each label.
        kind: 'classes' (names in one column), 'lists' (several names in one column), 'labels' (a number for each
            label) or 'onehot' (a number for each class, of which one is 1).
        separator: of lists.
        why: in words.
    """

    columns: list[str]
    kind: str
    why: str
    separator: str | None = None


def find_label_columns(
    table: Table, label: str | None, labels: Sequence[str] | None, taken: Sequence[str]
) -> LabelColumns:
    """The column of classes, or the columns of labels.

    Args:
        label, labels: what was said: a column; columns, or with one column the names of its classes.
        taken: columns that are something else.

    Raises:
        UserError: if it cannot be known, naming the columns that it may be.
    """
    table.require(label)
    if label is not None:
        return _one_column(table, label, 'as said', labels)
    if labels and all(name in table.header for name in labels):
        return _several(table, list(labels), 'as said')
    if labels and any(name in table.header for name in labels):
        lacking = [name for name in labels if name not in table.header]
        raise UserError(f'labels: {table.file} has no column {lacking[0]!r}. It has {listed(table.header, 20)}.')
    free = [column for column in table.header if column not in taken]
    numbered = [column for column in free if not _describes(column) and _is_label_of_numbers(table, column)]
    named = [
        column
        for column in free
        if plain(column) in LABEL_NAMES
        and (column in numbered or _few(table, column) or _separator({row[column] for row in table.rows}))
    ]
    if len(named) == 1:
        return _one_column(table, named[0], 'by its name', labels)
    if not named and len(numbered) > 1:
        _refuse_nearly(table, [column for column in free if column not in numbered])
        return _several(table, numbered, 'their values are 0, 1 and what is uncertain or missing')
    few = [column for column in free if column not in numbered and _few(table, column)]
    possible = named or numbered + [column for column in few if not _describes(column)] or few
    if not possible:  # one class, or classes that are called as missing labels are, None and NA
        possible = [column for column in free if plain(column) in LABEL_NAMES and _repeats_text(table, column)]
    if len(possible) == 1:
        _refuse_nearly(table, [column for column in free if column not in (*numbered, possible[0])])
        return _one_column(table, possible[0], 'no other column can be the label', labels)
    which = f'it may be {listed(map(repr, possible))}' if possible else f'it has {listed(map(repr, table.header), 20)}'
    raise UserError(
        f'{table.file}: which column is the label cannot be known, {which}. Say it: label=COLUMN, or labels=A,B,C '
        'for a column per label.'
    )


def _refuse_nearly(table: Table, columns: Sequence[str]) -> None:
    """Raise UserError for a column that would be a label but for a few values, and would be left out silently."""
    for column in columns:
        there = [i for i, row in enumerate(table.rows) if not is_missing(row[column])]
        wrong = [i for i in there if not _is_label(_number(table.rows[i][column]))]
        commas = all(re.fullmatch(r'[01],\d+|[01]', table.rows[i][column]) for i in there)  # 0,25
        words = all(_number(table.rows[i][column]) is None for i in wrong)  # ? and -, where others are 0 and 1
        most = 0.5 if words else 0.1
        if not _describes(column) and there and (commas or len(wrong) <= most * len(there)):
            raise UserError(
                f'{table.where(wrong[0])}, column {column!r}: {table.rows[wrong[0]][column]!r} is none of 0 to 1, -1 '
                '(uncertain) and empty, as the others are: correct it, or say which columns are labels, labels=A,B,C.'
            )


def _describes(column: str) -> bool:
    """Whether a column of numbers is of the image, the person or the division, by its name."""
    name = plain(column)
    bare = {name.removeprefix(begin) for begin in ('', 'is', 'patient', 'patients')}
    return bool(bare & {*DESCRIPTIONS, *SPLIT_NAMES, *FOLD_NAMES})


def _one_column(table: Table, column: str, why: str, names: Sequence[str] | None) -> LabelColumns:
    """Args: ``names``: of the classes, where they are said."""
    values = {row[column] for row in table.rows}
    _refuse_other_lists(table, column, {value for value in values if not is_missing(value)} - set(names or ()))
    if _is_label_of_numbers(table, column) and any(_number(v) not in (None, 0.0, 1.0, -1.0) for v in values):
        return LabelColumns([column], 'labels', f'{why}; soft labels from 0 to 1')
    separator = _separator(values, names or ())
    if separator is None and not names:
        _refuse_unclear_lists(table, column, values)
    if separator is not None:
        return LabelColumns([column], 'lists', f'{why}; {separator!r} stands between labels', separator)
    if len(values) > MOST_CLASSES:
        raise UserError(
            f'{table.file}: the column {column!r} has {len(values)} values, too many for classes: label=COLUMN.'
        )
    return LabelColumns([column], 'classes', why)


def _refuse_other_lists(table: Table, column: str, values: set[str]) -> None:
    """Raise UserError for numbers with decimal commas, and for lists as Python writes them."""
    for what, wrong, right in (
        ('decimal commas', re.compile(r'[+-]?\d+,\d+'), 'write points'),
        ('lists in brackets', re.compile(r'[\[{(].*[\]})]', re.DOTALL), 'write labels as a|b'),
    ):
        found = sorted(filter(wrong.fullmatch, values))
        if found and all(wrong.fullmatch(value) or number_of(value) == number_of(value) for value in values):
            raise UserError(f'{table.file}: the column {column!r} has {what}, such as {found[0]!r}: {right}.')


def _refuse_unclear_lists(table: Table, column: str, values: set[str]) -> None:
    """Raise UserError where a value is made of others, as 'a/b' and 'a b' beside 'a' and 'b'."""
    for mark in ';,/+& ':
        for value in sorted(values):
            parts = [part.strip() for part in value.split(mark)]
            if len(parts) > 1 and all(part in values and not is_missing(part) for part in parts):
                raise UserError(
                    f'{table.file}: {value!r} in the column {column!r} may be the labels {listed(parts)} or a class of '
                    'its own: write labels as a|b everywhere, or name all classes, labels=A,B,C.'
                )


def _several(table: Table, columns: list[str], why: str) -> LabelColumns:
    table.require(*columns)
    rows = [[_number(row[column]) for column in columns] for row in table.rows]
    if len(columns) > 1 and all(sorted(row, key=str) == [0.0] * (len(columns) - 1) + [1.0] for row in rows):
        return LabelColumns(columns, 'onehot', f'{why}; exactly one of each row is 1, so they are classes')
    return LabelColumns(columns, 'labels', why)


def _is_label_of_numbers(table: Table, column: str) -> bool:
    """Whether all values are -1, from 0 to 1, or missing, and not all are missing."""
    values = {row[column] for row in table.rows if not is_missing(row[column])}
    numbers = [_number(value) for value in values]
    return bool(numbers) and all(map(_is_label, numbers))


def _is_label(number: float | None) -> bool:
    return number is not None and (number == -1 or 0 <= number <= 1)


def _few(table: Table, column: str) -> bool:
    """Whether a column's values may be classes: at least two, each many times."""
    values = {canonical(row[column]) for row in table.rows if not is_missing(row[column])}
    return 2 <= len(values) <= min(MOST_CLASSES, max(2, len(table.rows) // 3))


def _repeats_text(table: Table, column: str) -> bool:
    texts = [row[column] for row in table.rows if row[column]]
    return 0 < len(set(texts)) <= max(1, len(texts) // 2)


def _separator(values: set[str], names: Sequence[str] = ()) -> str | None:
    """Return the separator of lists of labels: | always, ; and , where their parts are values elsewhere too. What is
    among ``names`` is a class, and no list."""
    unnamed = values - set(names)
    if any('|' in value for value in unnamed):
        return '|'
    for mark in ';,':
        lists = [[part.strip() for part in value.split(mark)] for value in unnamed if mark in value]
        times = Counter(part for parts in lists for part in set(parts))
        times.update(value for value in values if mark not in value)
        if lists and all(times[part] > 1 for parts in lists for part in parts):
            return mark
    return None


def _number(text: str) -> float | None:
    value = number_of(text)
    return None if math.isnan(value) else value
