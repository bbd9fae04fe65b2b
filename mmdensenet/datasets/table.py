"""Tables as people have them: any delimiter and encoding that can be told, with the line of every row."""

import csv
import io
import math
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mmdensenet.errors import UserError
from mmdensenet.extras import imported
from mmdensenet.similar import similar_path

DELIMITERS = ',;\t|'
#: what stands for no value, in any case
MISSING = ('', 'nan', '-nan', 'na', 'n/a', '<na>', 'null', 'none', '#n/a', '#na', '#null!', 'nat')
IMAGE_SUFFIXES = {'.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp', '.ppm', '.pgm', '.dcm', '.dicom'}
_MARKS = ((b'\xef\xbb\xbf', 'utf-8-sig'), (b'\xff\xfe', 'utf-16'), (b'\xfe\xff', 'utf-16'))


@dataclass
class Table:
    """Rows of text, by the names of their columns.

    Attributes:
        file: where they are from.
        header: the columns' names, without spaces around them.
        rows: with all of the columns each, values without spaces around them.
        lines: of the rows in the file, the first line being 1; rows of Parquet are numbered from 1.
        encoding: of the text; 'cp1252' is a guess for what is not Unicode.
    """

    file: str
    header: list[str]
    rows: list[dict[str, str]]
    lines: list[int]
    encoding: str = 'utf-8'

    def require(self, *columns: str | None) -> None:
        """Raise UserError for a column that is not there, or is there twice."""
        for column in columns:
            if column is None:
                continue
            if column not in self.header:
                raise UserError(f'{self.file} has no column {column!r}. It has {", ".join(map(repr, self.header))}.')
            if self.header.count(column) > 1:
                raise UserError(f'{self.file} has the column {column!r} {self.header.count(column)} times: rename one.')

    def where(self, index: int) -> str:
        return f'{self.file}, row {self.lines[index]}'


def read_table(file: str | Path) -> Table:
    """Read a CSV or TSV file, or a Parquet file.

    The delimiter is the one of comma, semicolon, tab and | that divides the header into most columns, or what a line
    ``sep=;`` before it says; spaces, where there is none of these and all lines have equally many words.
    Text is UTF-8, UTF-16 where it has its mark, else Windows' Latin alphabet (cp1252), as spreadsheets write it.

    Raises:
        UserError: for a file that is not there or not a table, and for a row with more or fewer fields than the header.
    """
    file = str(file)
    if file.lower().endswith(('.parquet', '.pq')):
        return _read_parquet(file)
    try:
        content = Path(file).read_bytes()
    except FileNotFoundError as error:
        raise UserError(f'{file} does not exist: set dataset.ann_file.{similar_path(file)}') from error
    except OSError as error:
        raise UserError(f'{file} cannot be read: {(error.strerror or str(error)).lower()}.') from error
    text, encoding = _decode(file, content)
    try:
        return _parse(file, text, encoding)
    except csv.Error as error:
        raise UserError(f'{file} is not a CSV file: {error}.') from error


def is_missing(text: str) -> bool:
    return text.strip().lower() in MISSING


def number_of(text: str) -> float:
    """What stands in the column of a label: True is 1, False is 0; NaN if it is no number."""
    try:
        return float(dict(true='1', false='0').get(text.strip().lower(), text))
    except ValueError:
        return math.nan


def canonical(label: str) -> str:
    """1 for 1.0, as a column of numbers with gaps has it in many programs."""
    return re.sub(r'^([+-]?\d+)\.0*$', r'\1', label.strip())


def portable_path(text: str) -> str:
    """A path of Windows with / between folders.

    Raises:
        UserError: for one with a drive, which is nowhere here.
    """
    if re.match(r'[A-Za-z]:[\\/]', text) and not Path(text).is_absolute():
        raise UserError(f'{text} is on a drive of Windows: write paths as they are below data_prefix.')
    return text.replace('\\', '/') if '\\' in text and '/' not in text else text


class ImageFinder:
    """The file of a path in a table, which may lack its ending."""

    def __init__(self, folder: str):
        self.folder = folder
        self.by_name: dict[str, list[Path]] | None = None

    def __call__(self, path: str) -> str:
        whole = Path(self.folder, path)
        if whole.suffix or '://' in self.folder or whole.exists():
            return str(whole)
        if self.by_name is None:
            self.by_name = {}
            for file in Path(self.folder).rglob('*') if Path(self.folder).is_dir() else ():
                if file.suffix.lower() in IMAGE_SUFFIXES:
                    self.by_name.setdefault(file.stem, []).append(file)
        found = [file for file in self.by_name.get(whole.name, ()) if f'/{file.with_suffix("")}'.endswith(f'/{path}')]
        if len(found) > 1:
            raise UserError(f'{path} is {found[0]} as well as {found[1]}: write the ending, too.')
        return str(found[0] if found else whole)


def _decode(file: str, content: bytes) -> tuple[str, str]:
    """The text, and its encoding."""
    for mark, encoding in (*_MARKS, (b'', 'utf-8'), (b'', 'cp1252')):
        if content.startswith(mark):
            try:
                text = content.decode(encoding)
            except UnicodeDecodeError:
                continue
            if '\0' not in text:
                return text, encoding
    raise UserError(f'{file} is not a table of text: save it as CSV in UTF-8.')


def _parse(file: str, text: str, encoding: str) -> Table:
    lines_of_text = [line for line in text.splitlines() if line.strip()] or ['']
    first = lines_of_text[0]
    said = re.fullmatch('"?sep=(.)"?', first.strip(' \r\n'))  # a line that Excel writes and reads
    delimiter = (
        said[1] if said else max(DELIMITERS, key=lambda mark: len(next(csv.reader([first], delimiter=mark), [])))
    )
    words = {len(line.split()) for line in lines_of_text}
    if not said and len(words) == 1 and words != {1} and not any(mark in first for mark in DELIMITERS):
        delimiter = ' '
    reader = csv.reader(
        io.StringIO(text, newline=''), delimiter=delimiter, skipinitialspace=delimiter == ' ', strict=True
    )
    header: list[str] = []
    rows, lines = [], []
    for fields in reader:
        fields = [field.strip() for field in fields]
        if not any(fields):
            continue
        if not header:
            if said:
                said = None
            else:
                header = fields
            continue
        if len(fields) > len(header) and any(fields[len(header) :]):
            advice = f'A value with {delimiter!r} in it needs quotes.'
            if len(header) == 1:
                advice = f'If the first line, {header[0][:80]!r}, is a title, remove it.'
            raise UserError(
                f'{file}, row {reader.line_num}: {len(fields)} fields, but the header has {len(header)}. {advice}'
            )
        if len(fields) < len(header):
            raise UserError(f'{file}, row {reader.line_num}: too few fields, {len(fields)} of {len(header)}.')
        rows.append(dict(zip(header, fields)))
        lines.append(reader.line_num)
    return Table(file, header, rows, lines, encoding)


def _read_parquet(file: str) -> Table:
    parquet = imported('pyarrow.parquet', f'{file} needs pyarrow')
    try:
        rows = parquet.read_table(file).to_pylist()
    except FileNotFoundError as error:
        raise UserError(f'{file} does not exist: set dataset.ann_file.{similar_path(file)}') from error
    except Exception as error:  # pyarrow raises many kinds
        raise UserError(f'{file} is not a Parquet file: {str(error).splitlines()[0][:120]}') from error
    texts = [{key: _text_of(value) for key, value in row.items()} for row in rows]
    return Table(file, list(texts[0]) if texts else [], texts, list(range(1, len(texts) + 1)))


def _text_of(value: object) -> str:
    """A cell of Parquet as a CSV file has it; a list as ``a|b``."""
    if isinstance(value, list):
        return '|'.join(_text_of(each) for each in value)
    if isinstance(value, bytes):  # text of writers that know no other; or an image
        with suppress(UnicodeDecodeError):
            value = value.decode()
    return '' if value is None else str(value).strip()
