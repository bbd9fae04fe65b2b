"""A table of images and labels, as people have them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmdensenet.datasets.file_index import FileIndex
from mmdensenet.datasets.spelling import require_one_id
from mmdensenet.datasets.table import IMAGE_SUFFIXES, Table, canonical, is_missing, read_table
from mmdensenet.errors import UserError

from .columns import (
    FOLD_NAMES,
    find_group_column,
    find_path_column,
    find_split_column,
    part_of,
    plain,
)
from .label_columns import LabelColumns, find_label_columns
from .label_targets import contradictions, label_policies, label_targets
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
    _require_names(table)
    index = FileIndex(images or Path(file).parent)
    path_column, why = find_path_column(table, index, path)
    facts = [f'{len(table.rows)} rows', *_encoding(table), f'images: the column {path_column!r}, as {why}']
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
    policies = label_policies(table, found, names or (), dict(uncertain=uncertain, missing=missing), ask)
    classes, targets = label_targets(table, found, policies, names)
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
    told = [column for column in (split_column, group_column, *subgroups) if column is not None]
    kept, repeated = merge_rows(table, kept, files, targets, told)
    if repeated:
        facts.append(f'{repeated} rows repeat an image with the same labels')
    if not kept:
        raise UserError(f'{file}: no row has an image and a label.')
    if names is None and found.kind in ('classes', 'lists'):
        classes, targets = _without_absent(file, classes, targets, kept, facts)
    facts += contradictions(table, found, targets, kept)
    unused = [column for column in table.header if column and column not in (path_column, *told, *found.columns)]
    if unused:
        facts.append(f'not used: the columns {listed(map(repr, unused), 20)}')
    facts += [
        f'{column!r} has no parts: give a column of train, val and test, split=COLUMN, or folds=K'
        for column in unused
        if plain(column) in FOLD_NAMES
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
        policies=policies,
    )
    if group_column is not None:
        names = [canonical(table.rows[i][group_column]) for i in kept]
        samples.groups = [f'row {i}' if is_missing(name) else name for i, name in zip(kept, names)]
        require_one_id(samples.groups, f'{file}: the column {group_column!r}')
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
    """Return classes and targets without the classes that no image has, as those of a last row with totals."""
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


def _require_names(table: Table) -> None:
    """Raise UserError for values in a column without a name, unless it is the first, of row numbers as pandas writes:
    the first line is a title then."""
    for place, name in enumerate(table.header[1:], 2):
        if not name and any(row[name] for row in table.rows):
            raise UserError(
                f'{table.file}: column {place} has no name in the first line, {listed(map(repr, table.header), 3)}: '
                'name it, or remove the line if it is a title.'
            )


def _encoding(table: Table) -> list[str]:
    """Report a text encoding that was guessed."""
    if table.encoding != 'cp1252':
        return []
    cells = (text for texts in (table.header, *(row.values() for row in table.rows)) for text in texts)
    example = next((text for text in cells if not text.isascii()), '')
    return [f"the text is not UTF-8 and read as Windows' Latin alphabet (cp1252), such as {example!r}"]


def _describe(found: LabelColumns, classes: list[str]) -> str:
    many = f'{len(classes)} {"labels" if found.kind in ("labels", "lists") else "classes"} ({listed(classes)})'
    if found.kind in ('classes', 'lists'):
        return f'{many} in the column {found.columns[0]!r}'
    return f'{many}, a column each'


def is_table(path: str) -> bool:
    return Path(path).suffix.lower() in TABLES and Path(path).suffix.lower() not in IMAGE_SUFFIXES
