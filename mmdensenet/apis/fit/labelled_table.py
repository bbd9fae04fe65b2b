"""A table of images and labels, as people have them."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmdensenet.datasets.csv_dataset import POLICIES, by_value, canonical, number_of, split_labels
from mmdensenet.datasets.file_index import FileIndex
from mmdensenet.datasets.table import IMAGE_SUFFIXES, Table, is_missing, read_table
from mmdensenet.errors import UserError

from .class_names import require_no_typo
from .columns import (
    NO_LABEL,
    LabelColumns,
    find_group_column,
    find_label_columns,
    find_path_column,
    find_split_column,
    part_of,
    plain,
)
from .path_groups import group_by_path, is_path_rule
from .samples import PART_NAMES, Ask, Samples, listed

#: share of the rows whose images may be missing; more, and it is the wrong folder
MOST_MISSING = 0.1
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
        group_column, why_group = find_group_column(table, group, [*stated, split_column])
    found = find_label_columns(table, label, labels, [*given, split_column, group_column])
    table.require(path_column, split_column, group_column, *found.columns)
    names = list(labels) if labels and found.columns != list(labels) else None
    policies = _policies(table, found, names or (), dict(uncertain=uncertain, missing=missing), ask)
    classes, targets = _targets(table, found, policies, names)
    facts.append(f'labels: {_describe(found, classes)}, {found.why}')
    facts += [f'{key} labels count as {policy}' for key, policy in policies.items()]

    files, absent = _files(table, path_column, index, images)
    kept, left_out = [], 0
    for i, place in enumerate(files):
        if place is not None and targets[i] is None:
            left_out += 1
        elif place is not None:
            kept.append(i)
    if left_out:
        facts.append(f'{left_out} rows without a class are left out')
    kept, repeated = _merge(table, kept, files, targets, [c for c in (split_column, group_column) if c is not None])
    if repeated:
        facts.append(f'{repeated} rows repeat an image with the same labels')
    if not kept:
        raise UserError(f'{file}: no row has an image and a label.')
    samples = Samples(
        root=str(index.root),
        images=[table.rows[i][path_column] for i in kept],
        files=[files[i] for i in kept],
        classes=classes,
        targets=np.array([targets[i] for i in kept]),
        subgroups={name: [table.rows[i][name] for i in kept] for name in subgroups},
        facts=facts,
    )
    if group_column is not None:
        names = [canonical(table.rows[i][group_column]) for i in kept]
        samples.groups = [f'row {i}' if is_missing(name) else name for i, name in zip(kept, names)]
        alone = sum(map(is_missing, names))
        facts.append(f'groups: the column {group_column!r}, {why_group}; {len(set(samples.groups))} of them')
        if alone:
            facts.append(f'{alone} images have no group and are taken each for itself')
    else:
        group_by_path(samples, rule, 0, ask)
    if split_column is not None:
        samples.parts = [part_of(table.rows[i][split_column]) for i in kept]
        facts.append(f'the parts are given by the column {split_column!r}, {why_split}')
    elif lists := _list_files(file, index):
        samples.parts = [lists[1].get(file, '') for file in samples.files]
        facts.append(f'the parts are given by the lists {listed(lists[0])}')
    return samples, absent


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


def _files(table: Table, column: str, index: FileIndex, images: str | None) -> tuple[list[str | None], list[dict]]:
    """Each row's path below the folder, None where there is no such file."""
    by_text: dict[str, str | None] = {}
    by_file: dict[str, str] = {}
    absent = []
    for i, row in enumerate(table.rows):
        text = row[column]
        if not text:
            raise UserError(f'{table.where(i)}: no path in {column!r}.')
        if text in by_text:
            continue
        try:
            file = by_text[text] = index.find(text)
        except UserError as error:
            raise UserError(f'{table.where(i)}: {error}') from error
        if file is None:
            absent.append(dict(image=text, where=f'row {table.lines[i]}'))
        elif by_file.setdefault(file, text) != text:
            raise UserError(f'{table.where(i)}: {text} and {by_file[file]} are both {file}: write the folders, too.')
    if len(absent) > MOST_MISSING * len(by_text):
        raise UserError(
            f'{table.file}: {len(absent)} of {len(by_text)} images are not below {index.root}, such as '
            f'{absent[0]["image"]} ({absent[0]["where"]}): give their folder, images=FOLDER, or only the rows that are '
            'there.'
        )
    return [by_text[row[column]] for row in table.rows], absent


def _merge(table: Table, kept: list[int], files: list, targets: list, columns: list[str]) -> tuple[list[int], int]:
    """Rows with images that no earlier row has, and how many repeat one; all say the same of it."""
    first: dict[str, int] = {}
    for i in kept:
        before = first.setdefault(files[i], i)
        if not np.array_equal(targets[before], targets[i]):
            raise UserError(
                f'{table.where(i)}: {files[i]} has other labels than in row {table.lines[before]}: keep one of the '
                'rows, or write all labels of an image in one.'
            )
        other = next((c for c in columns if table.rows[before][c] != table.rows[i][c]), None)
        if other is not None:
            raise UserError(
                f'{table.where(i)}: {files[i]} has {other!r} {table.rows[i][other]!r}, and '
                f'{table.rows[before][other]!r} in row {table.lines[before]}: keep one of the rows.'
            )
    return list(first.values()), len(kept) - len(first)


def _list_files(file: str, index: FileIndex) -> tuple[list[str], dict[str, str]] | None:
    """Text files beside the table, such as ``train_val_list.txt``, whose lines are names of images: part by file."""
    lists: dict[str, list[str]] = defaultdict(list)
    for beside in sorted(Path(file).parent.glob('*.txt')):
        words = beside.stem.lower().replace('-', '_').removesuffix('_list').removesuffix('_images')
        part = PART_NAMES.get(words)
        if part is None or beside == Path(file):
            continue
        lines = [line.strip() for line in beside.read_text(encoding='utf-8', errors='replace').splitlines()]
        found = [index.find(line) for line in lines if line]
        if found and sum(name is not None for name in found) >= 0.5 * len(found):
            lists[part] += [name for name in found if name is not None]
            lists['files'].append(beside.name)
    if 'files' not in lists:
        return None
    files = lists.pop('files')
    by_name: dict[str, str] = {}
    for part, names in lists.items():
        for name in names:
            if by_name.setdefault(name, part) != part:
                raise UserError(f'{name} is in the list of {part} and of {by_name[name]}: {listed(files)}.')
    return files, by_name


def is_table(path: str) -> bool:
    return Path(path).suffix.lower() in TABLES and Path(path).suffix.lower() not in IMAGE_SUFFIXES
