"""Measured tiles: the fastest that a search found, for each compute capability.

tiles.json has a list of entries for each capability and kernel. An entry has the shape at which it was measured (rows,
columns, channels, bytes of an element, whether rows are aligned to 8 elements) and the tile. A launch takes the tile of
the nearest entry whose rows and channels differ by a factor of at most two; columns, bytes and alignment must be equal,
because they decide whether a tile fits on the chip. Without such an entry, and on GPUs that were not measured, a kernel
uses the tile of its own rule.
"""

import functools
import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

FILE = Path(__file__).with_suffix('.json')
#: the keys of an entry that are its shape; the others are its tile
SHAPE = ('rows', 'columns', 'channels', 'bytes', 'aligned')

_table: dict[str, dict[str, list[dict]]] = json.loads(FILE.read_text()) if FILE.exists() else {}
_choosers: list = []


def cached(chooser: Callable) -> Callable:
    """Cache the results of a function that chooses a tile: it runs for every launch."""
    _choosers.append(functools.lru_cache(maxsize=4096)(chooser))
    return _choosers[-1]


@cached
def chip(device: torch.device) -> str:
    """The key of the table: the compute capability, such as '9.0', or the device's type if it is no CUDA GPU."""
    return '{}.{}'.format(*torch.cuda.get_device_capability(device)) if device.type == 'cuda' else device.type


def measured(
    chip: str, kernel: str, rows: int, columns: int, channels: int, size: int, aligned: bool = True
) -> dict[str, int] | None:
    """The tile of the nearest entry, or None. An element has ``size`` bytes."""
    best, least = None, math.inf
    for entry in _table.get(chip, {}).get(kernel, ()):
        if (entry['columns'], entry['bytes'], entry['aligned']) != (columns, size, aligned):
            continue
        distances = [abs(math.log2(entry[key] / value)) for key, value in (('rows', rows), ('channels', channels))]
        if max(distances) <= 1 and sum(distances) < least:
            best, least = entry, sum(distances)
    return None if best is None else {key: value for key, value in best.items() if key not in SHAPE}


def choose(rule: dict[str, int], *shape, **more) -> dict[str, int]:
    """The measured tile if there is one, else the rule's, with its keys in alphabetical order.

    The columns (FIRST, SECOND) are always the rule's.
    """
    tile = measured(*shape, **more)
    chosen = rule if tile is None else {key: rule[key] for key in ('FIRST', 'SECOND') if key in rule} | tile
    return {key: chosen[key] for key in sorted(chosen)}


@contextmanager
def using(table: dict[str, dict[str, list[dict]]]) -> Iterator[None]:
    """Choose from this table instead, as measurements and tests do."""
    global _table
    before, _table = _table, table
    _forget()
    try:
        yield
    finally:
        _table = before
        _forget()


def _forget() -> None:
    for chooser in _choosers:
        chooser.cache_clear()
