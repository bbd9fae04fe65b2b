"""What images are called in the tables that go to the user: as in the table or folder that they are from."""

import csv
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmdensenet.apis.image_lists import expand, texts_of_list
from mmdensenet.datasets.file_index import FileIndex
from mmdensenet.datasets.nifti import is_nifti
from mmdensenet.datasets.table import IMAGE_SUFFIXES, read_table
from mmdensenet.errors import UserError

from .columns import find_path_column
from .labelled_table import is_table


@dataclass
class Unlabelled:
    """Images without labels.

    Attributes:
        column: what a table of them calls its first column.
        pairs: (name, path) of each image.
    """

    column: str = 'image'
    pairs: list[tuple[str, str]] = field(default_factory=list)


def named_images(
    predict: str | Path,
    images: str | Path | None,
    column: str | None = None,
    like: Sequence[str] = (),
) -> Unlabelled:
    """The images of a folder, or of each row of a table, found as those of the labelled table are.

    Those of a table are called as there, and so is the column. Those of a folder are called by their paths in it;
    without folders or endings where the labelled table's names have none, if they differ then.

    Args:
        column: of the paths, in the labelled table; that of a table which has it, too.
        like: names of the labelled table.

    Raises:
        UserError: for a row without an image: a submission has to have all.
    """
    if not Path(predict).exists():
        raise UserError(f'predict={predict} does not exist: give a folder or a table of images.')
    if not is_table(str(predict)):
        pairs = called_images(predict)
        require_tabular((name for name, _ in pairs), str(predict))
        called = in_style([name for name, _ in pairs], like)
        return Unlabelled(column or 'image', [(name, path) for name, (_, path) in zip(called, pairs)])
    table = read_table(predict)
    if not table.rows:
        raise UserError(f'predict={predict} has no row, and so no image.')
    index = FileIndex(images or Path(predict).parent)
    column, _ = find_path_column(table, index, column if column in table.header else None)
    pairs = []
    for i, row in enumerate(table.rows):
        file = index.find(row[column])
        if file is None:
            raise UserError(
                f'{table.where(i)}: {row[column]} is not below {index.root}: give images= a folder with the images of '
                'both tables, or predict= the folder of these.'
            )
        pairs.append((row[column], str(index.root / file)))
    return Unlabelled(column, pairs)


def require_tabular(names: Iterable[str], folder: str, is_read: bool = False) -> None:
    """Refuse a file whose name the tables that fit writes, in UTF-8, cannot hold: archives of Windows leave such names.

    Args:
        is_read: whether they are read again, without spaces around a name.

    Raises:
        UserError: naming the file.
    """
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError:
            why = 'is not UTF-8'
        else:
            why = 'has a carriage return' if '\r' in name else ''
            why = why or ('begins or ends with a space' if is_read and name != name.strip() else '')
        if why:
            raise UserError(f'{os.path.join(folder, name)!a}: this name {why}, so no table can hold it: rename it.')


def in_style(names: Sequence[str], like: Sequence[str]) -> list[str]:
    """Paths, written as a table's names are.

    >>> in_style(['a/1.png', 'b/2.png'], ['0007', '0008'])
    ['1', '2']
    """
    shown = list(names)
    if like and not any('/' in name or '\\' in name for name in like):
        shown = [name.rpartition('/')[2] for name in shown]
    if like and not any(_ending(name) for name in like):
        shown = [name[: len(name) - len(_ending(name))] for name in shown]
    return shown if len(set(shown)) == len(set(names)) else list(names)


def _ending(name: str) -> str:
    if is_nifti(name):
        return name[name.lower().rindex('.nii') :]
    ending = Path(name).suffix
    return ending if ending.lower() in IMAGE_SUFFIXES else ''


def names_of_images(samples: Path, root: str | None = None) -> Callable[[str], str]:
    """What gives an image's name in its table for its path; without the file, the path's last part.

    Args:
        root: the folder of the images, of which the file has paths. Images elsewhere, such as those of a folder that
            was moved, are found by the end of their path.

    Raises:
        UserError: by what it gives, for a path that is not in the file, or whose ends are two images of it.
    """
    if not samples.is_file():
        return lambda path: Path(path).name
    with samples.open(encoding='utf-8', newline='') as lines:
        by_file = {row['file'].replace('\\', '/'): row['image'] for row in csv.DictReader(lines)}

    def find(path: str) -> str:
        if root is not None and Path(path).is_relative_to(root):
            name = by_file.get(Path(path).relative_to(root).as_posix())
            if name is not None:
                return name
        parts = Path(path).parts
        ends = [end for end in ('/'.join(parts[start:]) for start in range(len(parts))) if end in by_file]
        if len(ends) == 1:
            return by_file[ends[0]]
        if ends:
            raise UserError(f'{path} may be {" or ".join(ends)} of {samples}: move the images back to their folder.')
        raise UserError(f'{path} is not in {samples}: it is of other images.')

    return find


def called_images(images: str | Path | Sequence) -> list[tuple[str, str]]:
    """(name, path) of the images of a folder, a table or list, a file, or several of these; pairs stay as they are."""
    if isinstance(images, (str, Path)):
        paths = [str(path) for path in expand(images)]
        inside = Path(images).expanduser()
        if inside.is_dir():
            return [(Path(path).relative_to(inside).as_posix(), path) for path in paths]
        return list(zip(texts_of_list(images) or [Path(path).name for path in paths], paths, strict=True))
    return [pair for item in images for pair in ([item] if isinstance(item, tuple) else called_images(item))]
