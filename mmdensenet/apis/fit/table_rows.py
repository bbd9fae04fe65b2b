"""Find the file of each row of a table, and its part in text files beside the table."""

from collections import defaultdict
from pathlib import Path

import numpy as np

from mmdensenet.datasets.file_index import FileIndex
from mmdensenet.datasets.table import Table
from mmdensenet.errors import UserError

from .samples import PART_NAMES, listed

#: share of the rows whose images may be missing; more, and it is the wrong folder
MOST_MISSING = 0.1


def files_of_rows(
    table: Table, column: str, index: FileIndex, images: str | None
) -> tuple[list[str | None], list[dict]]:
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


def merge_rows(table: Table, kept: list[int], files: list, targets: list, columns: list[str]) -> tuple[list[int], int]:
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


def list_files(file: str, index: FileIndex) -> tuple[list[str], dict[str, str]] | None:
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
