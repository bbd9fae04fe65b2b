"""Turn the labels of a table into numbers, by the policies for missing and uncertain ones."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from mmdensenet.datasets.csv_dataset import POLICIES, by_value, split_labels
from mmdensenet.datasets.labels import POSITIVE_ABOVE
from mmdensenet.datasets.table import Table, canonical, is_missing, number_of
from mmdensenet.errors import UserError

from .class_names import require_no_typo
from .columns import plain
from .label_columns import NO_LABEL, LabelColumns
from .samples import Ask


def label_policies(
    table: Table, found: LabelColumns, names: Sequence[str], given: dict[str, str | None], ask: Ask
) -> dict[str, str]:
    """Return the policies for the uncertain and missing labels that occur; a value among ``names`` is a class."""
    choices = ('ignore',) if found.kind == 'classes' and not _sides(table, found, names) else tuple(POLICIES)
    there = {}
    cells = {
        (i, column): split_labels(row[column], found.separator) if found.separator else [row[column]]
        for i, row in enumerate(table.rows)
        for column in found.columns
    }
    for key, is_it in (('missing', is_missing), ('uncertain', lambda text: canonical(text) == '-1')):
        where = [
            place for place, texts in cells.items() if len(texts) == 1 and texts[0] not in names and is_it(texts[0])
        ]
        if not where:
            continue
        i, column = where[0]
        text = cells[i, column][0]
        what = '-1' if key == 'uncertain' else repr(text) if text else 'empty'
        is_class = f' If {what} is a class, name all classes, labels=A,B,C.' if text and found.kind == 'classes' else ''
        question = (
            f'{table.file}: {len(where)} labels are {what} ({key}), the first in row {table.lines[i]}, column '
            f'{column!r}.{is_class} What do they count as?'
        )
        policy = given[key] or ask(question, key, choices)
        if policy not in choices:
            raise UserError(f'{key}={policy}: choose {", ".join(choices)}, for a column of {found.kind}.')
        there[key] = policy
    return there


def label_targets(
    table: Table, found: LabelColumns, policies: dict[str, str], names: list[str] | None
) -> tuple[list[str], list]:
    """The classes, and of each row its class or its labels; None for a row that has no class."""
    if found.kind == 'labels':
        return found.columns, [
            np.array([_score(table, i, column, policies) for column in found.columns], np.float32)
            for i in range(len(table.rows))
        ]
    if found.kind == 'onehot':
        return found.columns, [
            int(np.argmax([number_of(row[column]) for column in found.columns])) for row in table.rows
        ]
    column, sides = found.columns[0], _sides(table, found, names or ())
    cells = [
        split_labels(row[column], found.separator)
        if found.separator
        else [_class_of(row[column], policies, sides, names or ())]
        for row in table.rows
    ]
    without = {part for parts in cells for part in parts if plain(part) in NO_LABEL} if found.separator else set()
    without -= set(names or ())
    counts = Counter(
        part
        for parts in cells
        for part in parts
        if part in (names or ()) or not (is_missing(part) or part == '-1' or part in without)
    )
    classes = list(names) if names else sorted(counts, key=by_value)
    for i, parts in enumerate(cells):
        strange = [part for part in parts if part in counts and part not in classes]
        if strange:
            raise UserError(f'{table.where(i)}: {column} is {strange[0]!r}, none of labels={",".join(classes)}.')
    for i, parts in enumerate(cells):
        if not names and any(part in counts and not any(map(str.isalnum, part)) for part in parts):
            raise UserError(
                f'{table.where(i)}: {column} is {table.rows[i][column]!r}: leave it empty if that means missing, or '
                'name all classes, labels=A,B,C.'
            )
        if len(parts) > 1 and any(part in without for part in parts):
            raise UserError(f'{table.where(i)}: {column} is {table.rows[i][column]!r}, none and some: correct it.')
    if not names:
        require_no_typo(counts, f'{table.file}: the {column}', 'correct the table')
    if found.separator is None:
        if len(classes) < 2:
            raise UserError(f'{table.file}: the column {column!r} has one class, {classes}: label=COLUMN.')
        return classes, [classes.index(parts[0]) if parts[0] in counts else None for parts in cells]
    targets = []
    for i, parts in enumerate(cells):
        row = np.zeros(len(classes), np.float32)
        for part in parts:
            if part in counts:
                row[classes.index(part)] = 1
            elif is_missing(part):
                row[:] = POLICIES[policies['missing']]
            elif parts == ['-1']:
                row[:] = POLICIES[policies['uncertain']]
            elif part == '-1':
                raise UserError(f'{table.where(i)}: {column} has -1 beside labels: correct it.')
        targets.append(row)
    return classes, targets


def contradictions(table: Table, found: LabelColumns, targets: list, kept: list[int]) -> list[str]:
    """Describe the rows in which a column such as 'No Finding' is positive together with other labels."""
    if found.kind != 'labels':
        return []
    lines = []
    for k, column in enumerate(found.columns):
        if plain(column) in NO_LABEL and len(found.columns) > 1:
            both = [i for i in kept if targets[i][k] > POSITIVE_ABOVE and (targets[i] > POSITIVE_ABOVE).sum() > 1]
            if both:
                lines.append(
                    f'{len(both)} rows have {column!r} beside other labels, the first is row {table.lines[both[0]]}'
                )
    return lines


def _sides(table: Table, found: LabelColumns, names: Sequence[str]) -> dict[str, str]:
    """Return the names of negative and positive in one column of 0 and 1, in which missing may be either; else {}."""
    if found.kind != 'classes':
        return {}
    texts = {_name_of(row[found.columns[0]], names) for row in table.rows}
    known = {text for text in texts if text in names or not (is_missing(text) or text == '-1')}
    called = {number_of(text): text for text in sorted(known)}
    if not called or not set(called) <= {0.0, 1.0}:
        return {}
    return dict(negative=called.get(0.0, '0'), positive=called.get(1.0, '1'))


def _class_of(text: str, policies: dict[str, str], sides: dict[str, str], names: Sequence[str]) -> str:
    name = _name_of(text, names)
    key = 'missing' if is_missing(name) else 'uncertain' if name == '-1' else None
    return name if key is None or name in names else sides.get(policies[key], name)


def _name_of(text: str, names: Sequence[str]) -> str:
    """1 for 1.0, unless that is what the class is said to be called."""
    return text if text in names else canonical(text)


def _score(table: Table, i: int, column: str, policies: dict[str, str]) -> float:
    text = table.rows[i][column]
    if is_missing(text):
        return POLICIES[policies['missing']]
    value = number_of(text)
    if value == -1:
        return POLICIES[policies['uncertain']]
    if not 0 <= value <= 1:
        raise UserError(f'{table.where(i)}, column {column!r}: {text!r} is none of 0 to 1, -1 (uncertain) and empty.')
    return value
