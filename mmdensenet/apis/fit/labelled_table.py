"""A table of images and labels, as people have them."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmdensenet.datasets.csv_dataset import POLICIES, by_value, canonical, number_of, split_labels
from mmdensenet.datasets.file_index import FileIndex
from mmdensenet.datasets.labels import POSITIVE_ABOVE
from mmdensenet.datasets.table import IMAGE_SUFFIXES, Table, is_missing, read_table
from mmdensenet.errors import UserError

from .class_names import require_no_typo
from .columns import (
    FOLD_NAMES,
    find_group_column,
    find_path_column,
    find_split_column,
    part_of,
    plain,
    require_one_spelling,
)
from .label_columns import NO_LABEL, LabelColumns, find_label_columns
from .path_groups import group_by_path, is_path_rule
from .samples import Ask, Samples, listed
from .table_rows import files_of_rows, list_files, merge_rows

TABLES = ('.csv', '.tsv', '.txt', '.parquet', '.pq')


def read_labelled_table(
    file: str,
    images: str | None,
    *,
    path: str | None = None,
    label: str | None = None,
    labels: Sequence[str] | None = None,
    group: str | None = None,
    split: str | None = None,
    uncertain: str | None = None,
    missing: str | None = None,
    subgroups: Sequence[str] = (),
    ask: Ask,
) -> tuple[Samples, list[dict]]:
    """The samples of a table, and the rows whose image is not there, as ``dict(image=..., where=...)``.

    Args:
        images: the folder of the images; by default the table's.
        path, label, labels, group, split, subgroups: columns, where they are not to be found by their names and values;
            `group` may also be what :func:`mmdensenet.apis.fit.path_groups.group_by_path` takes.
        uncertain, missing: what -1 and empty labels count as.
        ask: is asked for a policy that is needed and not given.

    Raises:
        UserError: for what cannot be known or is wrong, naming the file and the row.
    """
    table = read_table(file)
    if not table.rows:
        raise UserError(f'{file} has no rows.')
    table.require(*subgroups)
    index = FileIndex(images or Path(file).parent)
    path_column, why = find_path_column(table, index, path)
    facts = [f'{len(table.rows)} rows', f'images: the column {path_column!r}, as {why}']
    given = [path_column, *subgroups]
    stated = [path_column, label, *(labels or ())]
    split_column, why_split = find_split_column(table, split, stated)
    rule = group if group is not None and group not in table.header and is_path_rule(group) else None
    group_column, why_group = None, ''
    if rule is None:
        group_column, why_group = find_group_column(table, group, [*stated, split_column], ask)
        if group_column == 'none' and 'none' not in table.header:
            rule, group_column = 'none', None
    found = find_label_columns(table, label, labels, [*given, split_column, group_column])
    table.require(path_column, split_column, group_column, *found.columns)
    names = list(labels) if labels and found.columns != list(labels) else None
    policies = _policies(table, found, names or (), dict(uncertain=uncertain, missing=missing), ask)
    classes, targets = _targets(table, found, policies, names)
    facts.append(f'labels: {_describe(found, classes)}, {found.why}')
    facts += [f'{key} labels count as {policy}' for key, policy in policies.items()]

    files, absent = files_of_rows(table, path_column, index, images)
    kept, left_out = [], 0
    for i, place in enumerate(files):
        if place is not None and targets[i] is None:
            left_out += 1
        elif place is not None:
            kept.append(i)
    if left_out:
        facts.append(f'{left_out} rows without a class are left out')
    kept, repeated = merge_rows(table, kept, files, targets, [c for c in (split_column, group_column) if c is not None])
    if repeated:
        facts.append(f'{repeated} rows repeat an image with the same labels')
    if not kept:
        raise UserError(f'{file}: no row has an image and a label.')
    if names is None and found.kind in ('classes', 'lists'):
        classes, targets = _without_absent(file, classes, targets, kept, facts)
    facts += _contradictions(table, found, targets, kept)
    facts += [
        f'the column {column!r} is not used: give it as split=COLUMN with train, val and test in it, or folds=K'
        for column in table.header
        if plain(column) in FOLD_NAMES and column not in (*stated, split_column, *found.columns)
    ]
    samples = Samples(
        root=str(index.root),
        images=[table.rows[i][path_column] for i in kept],
        files=[files[i] for i in kept],
        classes=classes,
        targets=np.array([targets[i] for i in kept]),
        subgroups={name: [table.rows[i][name] for i in kept] for name in subgroups},
        facts=facts,
        image_column=path_column,
    )
    if group_column is not None:
        names = [canonical(table.rows[i][group_column]) for i in kept]
        samples.groups = [f'row {i}' if is_missing(name) else name for i, name in zip(kept, names)]
        require_one_spelling(samples.groups, f'{file}: the column {group_column!r}')
        alone = sum(map(is_missing, names))
        facts.append(f'groups: the column {group_column!r}, {why_group}; {len(set(samples.groups))} of them')
        if alone:
            facts.append(f'{alone} images have no group and are taken each for itself')
    else:
        group_by_path(samples, rule, 0, ask)
    if split_column is not None:
        samples.parts = [part_of(table.rows[i][split_column]) for i in kept]
        facts.append(f'the parts are given by the column {split_column!r}, {why_split}')
    elif lists := list_files(file, index):
        samples.parts = [lists[1].get(file, '') for file in samples.files]
        facts.append(f'the parts are given by the lists {listed(lists[0])}')
    return samples, absent


def _without_absent(
    file: str, classes: list[str], targets: list, kept: list[int], facts: list[str]
) -> tuple[list[str], list]:
    """Classes and targets without those of which no image is there, as of a last row with totals."""
    there = np.zeros(len(classes), bool)
    for i in kept:
        there |= targets[i] > 0 if np.ndim(targets[i]) else np.arange(len(classes)) == targets[i]
    if there.all():
        return classes, targets
    lacking = [name for name, known in zip(classes, there) if not known]
    facts.append(f'no image of {listed(lacking)} is there: no class')
    if there.sum() < 2 and not np.ndim(targets[kept[0]]):
        raise UserError(f'{file}: all images that are there are of one class, {classes[int(there.argmax())]!r}.')
    number = np.cumsum(there) - 1
    targets = list(targets)
    for i in kept:
        targets[i] = targets[i][there] if np.ndim(targets[i]) else int(number[targets[i]])
    return [name for name, known in zip(classes, there) if known], targets


def _contradictions(table: Table, found: LabelColumns, targets: list, kept: list[int]) -> list[str]:
    """What is said of rows that have a column such as 'No Finding' beside other labels."""
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


def _policies(
    table: Table, found: LabelColumns, names: Sequence[str], given: dict[str, str | None], ask: Ask
) -> dict[str, str]:
    """What uncertain and missing labels count as, of what there is; what is one of the ``names`` is a class."""
    one_class = found.kind == 'classes'
    choices = ('ignore',) if one_class else tuple(POLICIES)
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
        what = 'empty' if key == 'missing' else '-1'
        question = (
            f'{table.file}: {len(where)} labels are {what} ({key}), the first in row {table.lines[i]}, column '
            f'{column!r}. What do they count as?'
        )
        policy = given[key] or ask(question, key, choices)
        if policy not in choices:
            raise UserError(f'{key}={policy!r}: choose {", ".join(choices)}, for a column of {found.kind}.')
        there[key] = policy
    return there


def _targets(
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
    column = found.columns[0]
    cells = [
        split_labels(row[column], found.separator) if found.separator else [canonical(row[column])]
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
    for parts in cells:
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


def _describe(found: LabelColumns, classes: list[str]) -> str:
    many = f'{len(classes)} {"labels" if found.kind in ("labels", "lists") else "classes"} ({listed(classes)})'
    if found.kind in ('classes', 'lists'):
        return f'{many} in the column {found.columns[0]!r}'
    return f'{many}, a column each'


def is_table(path: str) -> bool:
    return Path(path).suffix.lower() in TABLES and Path(path).suffix.lower() not in IMAGE_SUFFIXES
