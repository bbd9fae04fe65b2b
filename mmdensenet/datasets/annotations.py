"""What is wrong with an annotation file, by its line; and pickles, which are read only where they hold data."""

import io
import json
import pickle
from pathlib import Path

import mmengine
from mmengine.dataset import BaseDataset

from mmdensenet.errors import UserError
from mmdensenet.similar import similar_path

#: endings of files that are one dict
PICKLES = ('.pkl', '.pickle')
DICTS = ('.json', '.yaml', '.yml', *PICKLES)
#: what a pickle of data names: containers, and NumPy's numbers and arrays
_NUMPY = [f'numpy.{core}.{part}' for core in ('core', '_core') for part in ('multiarray', 'numeric')]
DATA = {
    *(('builtins', name) for name in ('list', 'dict', 'set', 'frozenset', 'tuple', 'int', 'float', 'bool', 'str')),
    *(('collections', name) for name in ('OrderedDict', 'defaultdict')),
    *((module, name) for module in _NUMPY for name in ('_reconstruct', 'scalar', '_frombuffer')),
    *(('numpy', name) for name in ('ndarray', 'dtype')),
    ('_codecs', 'encode'),  # of bytes, by pickle's protocols below 3
}


class AnnotationError(UserError, TypeError, ValueError):
    """A malformed annotation file; of the kinds that the data sets themselves raise then."""


class NoAnnotationError(UserError, FileNotFoundError):
    """An annotation file that does not exist."""


class _DataUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str):
        module = 'builtins' if module == '__builtin__' else module  # of protocols below 3
        if (module, name) not in DATA:
            raise pickle.UnpicklingError(f'it asks for {module}.{name}, which is code and would run')
        return super().find_class(module, name)


def require_data(file: str) -> None:
    """Refuse a pickle that is more than data, before anybody loads it. Files of other endings hold nothing but data.

    Raises:
        UserError: naming what it asks for.
    """
    if not file.endswith(PICKLES):
        return
    try:
        content = mmengine.fileio.get(file)
    except Exception:  # who loads it says why
        return
    try:
        _DataUnpickler(io.BytesIO(content)).load()
    except Exception as error:
        raise AnnotationError(
            f'{file}: {error or type(error).__name__}. An annotation file is read as data, of containers, text, '
            'numbers and NumPy arrays: write it as .json.'
        ) from error


def explain(dataset, error: Exception) -> UserError | None:
    """The message for a data set that could not read its ``ann_file``; None if the fault is not in that file.

    Args:
        dataset: mmengine's or mmpretrain's.
        error: what reading it raised.
    """
    file = str(getattr(dataset, 'ann_file', '') or '')
    if (
        not file or isinstance(error, UserError) or hasattr(dataset, 'label_column')
    ):  # a table says itself what is wrong
        return None
    if not Path(file).is_file():
        if not isinstance(error, OSError):
            return None
        return NoAnnotationError(f'{file} does not exist: set dataset.ann_file.{similar_path(file)}')
    if isinstance(error, json.JSONDecodeError):
        return AnnotationError(f'{file}, line {error.lineno}: {error.msg}.')
    if isinstance(error, UnicodeDecodeError):
        return AnnotationError(f'{file} is not text in UTF-8: {error.reason} at byte {error.start}.')
    try:
        reason = _wrong_item(dataset, file) if file.endswith(DICTS) else _wrong_line(file)
    except Exception:  # neither can it be read here
        reason = None
    if reason is None and 'need at least one array' in str(error):  # what numpy says of an empty list
        return AnnotationError(f'{file} lists no images.')
    if reason is None:
        return AnnotationError(
            f'{file} is no annotation file of {type(dataset).__name__}: {type(error).__name__}: {error}.'
        )
    return AnnotationError(f'{file}, {reason}')


def _wrong_line(file: str) -> str | None:
    """The first line that is not a path, a space and a whole number."""
    for number, line in enumerate(Path(file).read_text(encoding='utf-8').splitlines(), 1):
        path, _, label = line.strip().rpartition(' ')
        try:
            int(label)
        except ValueError:
            path = ''
        if not path:
            return f'line {number}: {line.strip()[:80]!r} is not a path, a space and the number of a class.'
    return None


def _wrong_item(dataset, file: str) -> str | None:
    """The first entry that has no path, or labels of another form, or what the whole file lacks."""
    content = mmengine.load(file)
    several_tasks = not isinstance(dataset, BaseDataset)
    needed = ('data_list',) if several_tasks else ('metainfo', 'data_list')
    lacking = [key for key in needed if not isinstance(content, dict) or key not in content]
    if lacking:
        return f'it has no {lacking[0]!r}: it must be a dict with metainfo and data_list.'
    for key, kind, name in (('metainfo', dict, 'dict'), ('data_list', list, 'list')):
        if not isinstance(content.get(key, kind()), kind):
            return f'{key}: it must be a {name}.'
    for number, item in enumerate(content['data_list']):
        if not isinstance(item, dict) or not isinstance(item.get('img_path'), str):
            return f'data_list[{number}]: it has no img_path ({str(item)[:80]}).'
        if several_tasks and not isinstance(item.get('gt_label', {}), dict):
            return f'data_list[{number}]: its gt_label must be a dict, of each task its label ({str(item)[:80]}).'
    return None
