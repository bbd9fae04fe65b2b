"""Read JSON, and refuse a key that occurs twice in one object: Python keeps the last value silently."""

import json
from typing import IO, Any


def load_json(file: IO) -> Any:
    """Read JSON from an open file of text or bytes, with or without a byte-order mark.

    Raises:
        ValueError: naming a key that stands twice in one object.
    """
    content = file.read()
    text = content.decode('utf-8-sig') if isinstance(content, bytes) else content.removeprefix('\ufeff')
    return json.loads(text, object_pairs_hook=_each_once)


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        seen = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise ValueError(f'the key {twice!r} stands twice in one object: remove one of the two')
    return made
