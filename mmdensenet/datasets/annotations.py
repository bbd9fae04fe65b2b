"""What is wrong with an annotation file, by its line."""

import json
from pathlib import Path

from mmdensenet.errors import UserError


def explain(dataset, error: Exception) -> UserError | None:
    """The message for a data set that could not read its ``ann_file``; None if the fault is not in that file.

    Args:
        dataset: mmengine's or mmpretrain's.
        error: what reading it raised.
    """
    file = str(getattr(dataset, 'ann_file', '') or '')
    if not file or isinstance(error, UserError):
        return None
    if not Path(file).is_file():
        return UserError(f'{file} does not exist: set dataset.ann_file.') if isinstance(error, OSError) else None
    if isinstance(error, json.JSONDecodeError):
        return UserError(f'{file}, line {error.lineno}: {error.msg}.')
    if isinstance(error, UnicodeDecodeError):
        return UserError(f'{file} is not text in UTF-8: {error.reason} at byte {error.start}.')
    reason = _wrong_item(file) if file.endswith('.json') else _wrong_line(file)
    if reason is None:
        return UserError(f'{file} is no annotation file of {type(dataset).__name__}: {type(error).__name__}: {error}.')
    return UserError(f'{file}, {reason}')


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


def _wrong_item(file: str) -> str | None:
    """The first entry that has no path, or what the whole file lacks."""
    with open(file, encoding='utf-8') as opened:
        content = json.load(opened)
    lacking = [key for key in ('metainfo', 'data_list') if not isinstance(content, dict) or key not in content]
    if lacking:
        return f'it has no {lacking[0]!r}: it must be a dict with metainfo and data_list.'
    for number, item in enumerate(content['data_list']):
        if not isinstance(item, dict) or 'img_path' not in item:
            return f'data_list[{number}]: it has no img_path ({json.dumps(item)[:80]}).'
    return None
