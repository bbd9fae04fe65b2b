"""Find the columns of paths, groups and parts in a table, with the reason for each."""

import re
from collections.abc import Sequence

from mmdensenet.datasets.file_index import FileIndex
from mmdensenet.datasets.table import Table, is_missing
from mmdensenet.errors import UserError

from .samples import PART_NAMES, Ask, listed

#: the patient before what belongs to one
GROUP_NAMES = (
    'patient', 'patientid', 'patientsid', 'subject', 'subjectid', 'person', 'personid', 'mrn', 'pid', 'participantid',
    'participant', 'animalid', 'caseid', 'case', 'lesionid', 'studyid', 'studyinstanceuid', 'examid', 'group',
    'groupid',
)  # fmt: skip
#: what ids of something else begin with
NO_GROUPS = ('class', 'label', 'category', 'target', 'image', 'img', 'file')
PERSONS = ('patient', 'subject', 'person', 'participant')
#: a table of images often has columns of masks and row numbers that are files, too
PATH_NAMES = (
    'image', 'images', 'imageid', 'imageindex', 'imagename', 'imagefile', 'imagepath', 'img', 'imgpath', 'imgname',
    'file', 'filename', 'filepath', 'path', 'id',
)  # fmt: skip
#: what names of columns of patients end in
ID_ENDS = ('id', 'ids', 'uid', 'name', 'number', 'no', 'nr', 'key', 'code', 'hash', 'pseudonym')
SPLIT_NAMES = ('split', 'set', 'subset', 'partition', 'part', 'phase', 'datasplit', 'dataset', 'usage', 'fold')
#: those that mean nothing else
ONLY_SPLIT_NAMES = ('split', 'set', 'subset', 'partition', 'datasplit', 'usage')
FOLD_NAMES = ('fold', 'folds', 'kfold', 'cvfold', 'foldid')
#: parts in columns of yes and no
PART_FLAG = re.compile(r'(is|in)?(train|training|val|valid|validation|test)(image|ing|set)?')


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
            + (f' {index.not_read()}.' if index.others else '')
        )
    if _is_row(table, index, best):
        raise UserError(f'{table.file} has no header: its first row is of the image {best}. Write one above it.')
    same = [column for column in found if found[column] == found[best] and plain(column) in PATH_NAMES]
    return (same or [best])[0], f'its values are files below {index.root}'


def _is_row(table: Table, index: FileIndex, column: str) -> bool:
    """Whether the header is a row: it names a file, and has an ending or, as other columns too, what rows have; or it
    is the only column, and not called as one of images."""
    file = _file_of(index, column)
    if file is None or '.' in column:
        return file is not None
    others = [name for name in table.header if name != column and name in {row[name] for row in table.rows}]
    likely = others or (len(table.header) == 1 and plain(column) not in PATH_NAMES)
    return bool(likely) and all(_file_of(index, row[column]) != file for row in table.rows)


def _file_of(index: FileIndex, text: str) -> str | None:
    try:
        return index.find(text)
    except UserError:  # several fit: it names files
        return f'several: {text}'


def _differ(one: list[str | None], other: list[str | None]) -> bool:
    return any(a is not None and b is not None and a != b for a, b in zip(one, other))


def find_group_column(
    table: Table, stated: str | None, taken: Sequence[str | None], ask: Ask
) -> tuple[str | None, str]:
    """The column of patients or the like, which is none of ``taken``, and why.

    Raises:
        UserError: for ids that are likely one, and of ``ask``, for a column of ids that repeat.
    """
    if stated is not None:
        table.require(stated)
        return stated, 'as said'
    free = [column for column in table.header if column not in taken]
    for name in GROUP_NAMES:
        for column in free:
            if plain(column) == name and len({row[column] for row in table.rows}) > 1:
                return column, 'by its name'
    for column in free:
        name = plain(column)
        if name.startswith(PERSONS) and name.endswith(ID_ENDS) and _repeats(table, column):
            return column, 'by its name'
    possible = [
        column
        for column in free
        if plain(column).endswith('id') and not plain(column).startswith(NO_GROUPS) and _repeats(table, column)
    ]
    if not possible:
        return None, ''
    example = table.rows[0][possible[0]]
    question = (
        f'{table.file}: the column {possible[0]!r} has ids that repeat, such as {example!r}. Are images with one id to '
        'stay together?'
    )
    choice = ask(question, 'group', (*possible, 'none'))
    return (choice, 'as said') if choice in possible else ('none', 'as said')


def _repeats(table: Table, column: str) -> bool:
    """Whether ids of many images are there, most of them more than once or many different ones."""
    values = [row[column] for row in table.rows if not is_missing(row[column])]
    return max(3, len(values) // 10) <= len(set(values)) < len(values)


def find_split_column(table: Table, stated: str | None, taken: Sequence[str | None]) -> tuple[str | None, str]:
    """The column of the parts, which is none of ``taken``, and why; 'none' says that there is none.

    Raises:
        UserError: if a column has parts and other values, or seems to have them in other words, or two columns have
            different parts.
    """
    if stated == 'none' and 'none' not in table.header:
        return None, ''
    table.require(stated)
    possible = []
    for column in table.header if stated is None else [stated]:
        if stated is None and column in taken:
            continue
        values = {row[column].lower() for row in table.rows if not is_missing(row[column])}
        parts = {part_of(value) for value in values} - {''}
        strange = sorted(value for value in values if not part_of(value))
        if stated is not None and (strange or not parts):
            raise UserError(f'split={stated}: {listed(map(repr, strange))} is none of train, val and test.')
        likely = len(parts) > 1 or (parts and plain(column) in SPLIT_NAMES)
        unknown = not parts and plain(column) in ONLY_SPLIT_NAMES and 1 < len(values) <= 5
        if (likely and strange) or unknown:
            raise UserError(
                f'{table.file}: the column {column!r} seems to give the parts, but {listed(map(repr, strange))} is '
                'none of train, val and test: correct it, leave these rows out, or give the right column, split=COLUMN '
                '(none if there is none).'
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
    """'train', 'val', 'test', or '' where none is given; 'Training set' and 'train_split' are train."""
    name = plain(text)
    ends = ('', 'set', 'split', 'data', 'images', 'part')
    return next((PART_NAMES[name.removesuffix(end)] for end in ends if name.removesuffix(end) in PART_NAMES), '')
