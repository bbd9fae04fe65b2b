"""Expand what a command line may name as images: files, folders, patterns, URLs, and tables or lists of them."""

from glob import glob
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from mmengine.fileio.backends.registry_utils import prefix_to_backends

from mmdensenet.datasets.file_index import image_files
from mmdensenet.datasets.nifti import SUFFIXES as VOLUME_SUFFIXES
from mmdensenet.datasets.table import IMAGE_SUFFIXES, portable_path, read_table
from mmdensenet.errors import UserError
from mmdensenet.similar import similar_path

TABLE_SUFFIXES = {'.csv', '.tsv', '.parquet'}
LIST_SUFFIXES = {*TABLE_SUFFIXES, '.txt'}
#: columns of a table that have the paths; the first that is there
PATH_COLUMNS = ('image', 'img_path', 'image_path', 'path', 'file', 'filename', 'file_name')


def expand(item) -> list:
    """Return the images of an item: of a folder and its folders, of a pattern (``*.png``, ``**/*.png``), of a .csv
    table or .txt list; any other item is an image itself.

    A table has a column of :data:`PATH_COLUMNS`, a list one path or URL a line. A relative path starts at the folder
    of the list, or where there is no such file, at the current one.

    Raises:
        UserError: for a path that does not exist, a folder or list without images, a table without such a column, and
            a URL of a scheme that nothing here reads.
    """
    if isinstance(item, Path):
        item = str(item)
    if not isinstance(item, str):
        return [item]
    item = without_file_scheme(item)
    if '://' in item:
        return [_known_url(item)]
    if not item.strip():  # a variable of a shell that is not set; it would be the current folder
        raise UserError('an image has an empty name: give a path or URL.')
    path = _expanded(item)
    if path.is_dir():
        endings = {*IMAGE_SUFFIXES, '.npy', *VOLUME_SUFFIXES}
        found = sorted(str(path / file) for file in image_files(path, endings))
        if not found:
            raise UserError(f'{item}: no images in this folder (by suffix: {", ".join(sorted(endings))}).')
        return found
    if not path.is_file():
        is_pattern = '*' in item or '?' in item
        found = sorted(name for name in glob(str(path), recursive=True) if is_pattern and Path(name).is_file())
        if not found:
            what = 'is neither a file nor a folder' if path.exists() else 'does not exist'
            raise UserError(f'{item} {what}.{"" if path.exists() else similar_path(path)}')
        return found
    return _listed(path) if path.suffix.lower() in LIST_SUFFIXES else [str(path)]


def texts_of_list(item: str | Path) -> list[str] | None:
    """The images of a table or list as they stand there, in the order of :func:`expand`; None for anything else."""
    path = _expanded(without_file_scheme(str(item)))
    if path.suffix.lower() not in LIST_SUFFIXES or not path.is_file():
        return None
    return [text for _, text in _named(path)]


def without_file_scheme(path: str) -> str:
    """The path of a file:// URL; anything else as it is."""
    if not path.lower().startswith('file://'):
        return path
    parts = urlsplit(path)
    if parts.netloc not in ('', 'localhost'):
        raise UserError(f'{path} is on another machine ({parts.netloc}): give a path, as file:///PATH.')
    return url2pathname(parts.path)


def _known_url(url: str) -> str:
    """The URL, its scheme in lower case, which mmengine looks for."""
    scheme, _, rest = url.partition('://')
    if scheme.lower() not in prefix_to_backends:
        known = ', '.join(f'{name}://' for name in ('file', 'http', 'https'))
        raise UserError(f'{url} has a scheme that is not known here; images are read from {known} and paths.')
    return f'{scheme.lower()}://{rest}'


def _listed(file: Path) -> list[str]:
    portable = portable_path if file.suffix.lower() in TABLE_SUFFIXES else str
    return [_find(file, row, portable(text)) for row, text in _named(file)]


def _named(file: Path) -> list[tuple[int, str]]:
    """The row and text of each image that is listed."""
    if file.suffix.lower() in TABLE_SUFFIXES:
        rows = _table(file)
    else:
        try:
            rows = list(enumerate(file.read_text(encoding='utf-8-sig').splitlines(), 1))
        except UnicodeDecodeError as error:
            raise UserError(f'{file} is no list of images in UTF-8: {error}.') from error
    named = [(row, text.strip()) for row, text in rows if text.strip()]
    if not named:
        raise UserError(f'{file} lists no images.')
    return named


def _table(file: Path) -> list[tuple[int, str]]:
    table = read_table(file)
    header = table.header
    column = next((name for name in PATH_COLUMNS if name in header), None)
    if column is None:
        raise UserError(
            f'{file} has the columns {", ".join(map(repr, header))}; the one with the paths must be called '
            f'{", ".join(PATH_COLUMNS[:-1])} or {PATH_COLUMNS[-1]}.'
        )
    table.require(column)
    return [(line, row[column]) for line, row in zip(table.lines, table.rows)]


def _expanded(text: str | Path) -> Path:
    """Expand a leading ~ to the home folder; a file name may begin with ~ too."""
    try:
        return Path(text).expanduser()
    except RuntimeError:  # there is no user of this name
        return Path(text)


def _find(file: Path, row: int, text: str) -> str:
    text = without_file_scheme(text)
    if '://' in text:
        return _known_url(text)
    path = _expanded(text)
    for candidate in (file.parent / path, path):
        if candidate.is_file():
            return str(candidate)
    hint = similar_path(file.parent / path) or similar_path(path)
    raise UserError(
        f'{file}, row {row}: {text} does not exist, neither beside the list nor in the current folder.{hint}'
    )
