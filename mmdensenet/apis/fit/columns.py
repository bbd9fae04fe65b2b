"""Which columns of a table are the path, the group, the part and the labels: what is understood is said, with why."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from mmdensenet.datasets.csv_dataset import canonical, number_of
from mmdensenet.datasets.file_index import FileIndex
from mmdensenet.datasets.table import Table, is_missing
from mmdensenet.errors import UserError

from .samples import PART_NAMES, listed

#: names as people give them, without spaces, case and punctuation
LABEL_NAMES = (
    'label', 'labels', 'class', 'classes', 'classname', 'target', 'targets', 'dx', 'diagnosis', 'findinglabels',
    'category', 'finding', 'findings', 'disease', 'species', 'breed', 'grade', 'groundtruth', 'gt',
)  # fmt: skip
#: the patient before what belongs to one
GROUP_NAMES = (
    'patient', 'patientid', 'patientsid', 'subject', 'subjectid', 'person', 'personid', 'mrn', 'pid', 'participantid',
    'participant', 'animalid', 'caseid', 'case', 'lesionid', 'studyid', 'studyinstanceuid', 'examid', 'group',
    'groupid',
)  # fmt: skip
#: a table of images often has columns of masks and row numbers that are files, too
PATH_NAMES = (
    'image', 'images', 'imageid', 'imageindex', 'imagename', 'imagefile', 'imagepath', 'img', 'imgpath', 'imgname',
    'file', 'filename', 'filepath', 'path', 'id',
)  # fmt: skip
SPLIT_NAMES = ('split', 'set', 'subset', 'partition', 'part', 'phase', 'datasplit', 'dataset', 'usage', 'fold')
#: parts in columns of yes and no
PART_FLAG = re.compile(r'(is|in)?(train|training|val|valid|validation|test)(image|ing|set)?')
#: columns of 0 and 1 that describe the image or the person
DESCRIPTIONS = (
    'sex', 'gender', 'age', 'male', 'female', 'view', 'frontal', 'lateral', 'frontallateral', 'appa', 'site', 'fold',
    'index', 'width', 'height', 'x', 'y', 'xmin', 'ymin', 'xmax', 'ymax', 'followup',
)  # fmt: skip
NO_LABEL = ('nofinding', 'nofindings', 'nolabel')
MOST_CLASSES = 1000


def plain(name: str) -> str:
    return ''.join(char for char in name.casefold() if char.isalnum())


def find_path_column(table: Table, index: FileIndex, stated: str | None) -> tuple[str, str]:
    """The column whose values are files below the folder of images, and why it is that.

    Raises:
        UserError: if there is none, or several name different files.
    """
    if stated is not None:
        table.require(stated)
        return stated, 'as said'
    rows = table.rows[:: max(1, len(table.rows) // 200)]
    files = {column: [_file_of(index, row[column]) for row in rows] for column in table.header}
    found = {column: len({file for file in of if file is not None}) for column, of in files.items()}
    best = max(found, key=found.get, default=None)
    possible = [
        column for column in found if found[column] >= 0.9 * found[best] and _differ(files[column], files[best])
    ]
    if possible and found[best]:
        possible = [best, *possible]
        named = [column for column in possible if plain(column) in PATH_NAMES]
        if len(named) != 1:
            raise UserError(
                f'{table.file}: the columns {" and ".join(map(repr, possible))} name different files below '
                f'{index.root}: say which are the images, path=COLUMN.'
            )
        return named[0], 'by its name'
    if best is None or not found[best]:
        example = next((v for v in table.rows[0].values() if v), '') if table.rows else ''
        raise UserError(
            f'{table.file}: no column has names of files below {index.root}, where there are {len(index.files)} images '
            f'(row 1 begins with {example!r}): give the folder of the images, images=FOLDER, or path=COLUMN.'
        )
    if _file_of(index, best) is not None and '.' in best:
        raise UserError(f'{table.file} has no header: its first row is of the image {best}. Write one above it.')
    return best, f'its values are files below {index.root}'


def _file_of(index: FileIndex, text: str) -> str | None:
    try:
        return index.find(text)
    except UserError:  # several fit: it names files
        return f'several: {text}'


def _differ(one: list[str | None], other: list[str | None]) -> bool:
    return any(a is not None and b is not None and a != b for a, b in zip(one, other))


def find_group_column(table: Table, stated: str | None, taken: Sequence[str | None]) -> tuple[str | None, str]:
    """The column of patients or the like, which is none of ``taken``, and why."""
    if stated is not None:
        table.require(stated)
        return stated, 'as said'
    for name in GROUP_NAMES:
        for column in table.header:
            if plain(column) == name and column not in taken:
                values = [row[column] for row in table.rows]
                if len(set(values)) > 1:
                    return column, 'by its name'
    return None, ''


def find_split_column(table: Table, stated: str | None, taken: Sequence[str | None]) -> tuple[str | None, str]:
    """The column of the parts, which is none of ``taken``, and why.

    Raises:
        UserError: if a column has parts and other values, or two columns have different parts.
    """
    table.require(stated)
    possible = []
    for column in table.header if stated is None else [stated]:
        if stated is None and column in taken:
            continue
        values = {row[column].lower() for row in table.rows if not is_missing(row[column])}
        parts = {PART_NAMES[value] for value in values if value in PART_NAMES}
        strange = sorted(values - set(PART_NAMES))
        if stated is not None and (strange or not parts):
            raise UserError(f'split={stated}: {listed(map(repr, strange))} is none of train, val and test.')
        likely = len(parts) > 1 or (parts and plain(column) in SPLIT_NAMES)
        if likely and strange:
            raise UserError(
                f'{table.file}: the column {column!r} seems to give the parts, but {listed(map(repr, strange))} is '
                'none of train, val and test: correct it, leave these rows out, or give the right column, split=COLUMN.'
            )
        if likely:
            possible.append((column, 'as said' if stated is not None else f'its values are {listed(sorted(values))}'))
        elif PART_FLAG.fullmatch(plain(column)) and values and values <= {'0', '1', '0.0', '1.0', 'true', 'false'}:
            raise UserError(
                f'{table.file}: the column {column!r} seems to give a part with yes and no: write a column of train, '
                'val and test, or name it among the labels, labels=A,B,C.'
            )
    for column, _ in possible[1:]:
        if any(part_of(row[column]) != part_of(row[possible[0][0]]) for row in table.rows):
            raise UserError(
                f'{table.file}: the columns {possible[0][0]!r} and {column!r} give different parts: split=COLUMN.'
            )
    return possible[0] if possible else (None, '')


def part_of(text: str) -> str:
    """'train', 'val', 'test', or '' where none is given."""
    return PART_NAMES.get(text.lower(), '')


@dataclass
class LabelColumns:
    """Where the labels are.

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
        return _one_column(table, label, 'as said')
    if labels and all(name in table.header for name in labels):
        return _several(table, list(labels), 'as said')
    if labels and any(name in table.header for name in labels):
        lacking = [name for name in labels if name not in table.header]
        raise UserError(f'labels: {table.file} has no column {lacking[0]!r}. It has {listed(table.header, 20)}.')
    free = [column for column in table.header if column not in taken]
    numbered = [column for column in free if plain(column) not in DESCRIPTIONS and _is_label_of_numbers(table, column)]
    named = [
        column
        for column in free
        if plain(column) in LABEL_NAMES
        and (column in numbered or _few(table, column) or _separator({row[column] for row in table.rows}))
    ]
    if len(named) == 1:
        return _one_column(table, named[0], 'by its name')
    if not named and len(numbered) > 1:
        _refuse_nearly(table, [column for column in free if column not in numbered])
        return _several(table, numbered, 'their values are 0, 1 and what is uncertain or missing')
    few = [column for column in free if column not in numbered and _few(table, column)]
    possible = named or numbered + [column for column in few if plain(column) not in DESCRIPTIONS] or few
    if len(possible) == 1:
        return _one_column(table, possible[0], 'no other column can be the label')
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
        if plain(column) not in DESCRIPTIONS and there and (commas or len(wrong) <= 0.1 * len(there)):
            raise UserError(
                f'{table.where(wrong[0])}, column {column!r}: {table.rows[wrong[0]][column]!r} is none of 0 to 1, -1 '
                '(uncertain) and empty, as the others are: correct it, or say which columns are labels, labels=A,B,C.'
            )


def _one_column(table: Table, column: str, why: str) -> LabelColumns:
    values = {row[column] for row in table.rows}
    if _is_label_of_numbers(table, column) and any(_number(v) not in (None, 0.0, 1.0, -1.0) for v in values):
        return LabelColumns([column], 'labels', f'{why}; soft labels from 0 to 1')
    separator = _separator(values)
    if separator is not None:
        return LabelColumns([column], 'lists', f'{why}; {separator!r} stands between labels', separator)
    if len(values) > MOST_CLASSES:
        raise UserError(
            f'{table.file}: the column {column!r} has {len(values)} values, too many for classes: label=COLUMN.'
        )
    return LabelColumns([column], 'classes', why)


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


def _separator(values: set[str]) -> str | None:
    """What divides lists of labels: | always, ; and , where what they divide stands elsewhere too."""
    if any('|' in value for value in values):
        return '|'
    for mark in ';,':
        lists = [[part.strip() for part in value.split(mark)] for value in values if mark in value]
        times = Counter(part for parts in lists for part in set(parts))
        times.update(value for value in values if mark not in value)
        if lists and all(times[part] > 1 for parts in lists for part in parts):
            return mark
    return None


def _number(text: str) -> float | None:
    value = number_of(text)
    return None if math.isnan(value) else value
