"""Reading checkpoints as data: tensors, numbers, text and plain containers, never code.

``torch.load`` reads a checkpoint with ``weights_only=True``. mmengine's own checkpoints hold ``HistoryBuffer`` objects
and numpy arrays; the inert stand-ins below rebuild these from their pickled data.
"""

import os.path as osp
import pickle
import re
from collections import OrderedDict
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

from mmdensenet.errors import UserError, first_line

from .archive import check_claims
from .checkpoint_file import changed_since_written
from .keras_file import SUFFIXES as KERAS_SUFFIXES
from .keras_file import load_keras
from .writing import PLAIN

# ---------------------------------------------------------------------------------------------------------------------
# Reading


def load_from_file(filename: str, map_location=None, called: str | None = None) -> Any:
    """Load a checkpoint file without running code from it.

    Config text in the checkpoint moves to ``meta['cfg_text']`` / ``meta['config_text']``: mmengine does not execute it
    under these names.

    Args:
        filename: path of a file of ``torch.save``, of a ``.safetensors`` file, or of a Keras file.
        map_location: as for :func:`torch.load`.
        called: the file's name in messages, by default ``filename``.

    Raises:
        FileNotFoundError: if there is no such file.
        UserError: if the file holds anything but tensors and plain data, or is damaged.
    """
    path = osp.expanduser(filename)
    if not osp.isfile(path):
        raise FileNotFoundError(f'{filename} can not be found.')
    filename = called or filename
    if path.endswith('.safetensors'):
        return _load_safetensors(filename, path, map_location)
    if path.lower().endswith(KERAS_SUFFIXES):
        return load_keras(filename, path)
    try:
        if reason := changed_since_written(path):  # torch does not compare a file with its checksum
            raise UserError(
                f'{filename} is damaged: {reason}. Copy it again from where it is whole, or take another one; '
                'resuming without a file takes the newest that is whole.'
            )
        check_claims(path)
        with torch.serialization.safe_globals(_STAND_INS):
            loaded = torch.load(path, map_location=map_location, weights_only=True)
        loaded = _materialise(loaded)
    except pickle.UnpicklingError as error:
        found = re.search(r'GLOBAL ([\w.]+)', str(error))
        if found:
            raise UserError(
                f'{filename} holds Python objects ({found[1]}), not only tensors and plain data, and loading them '
                'could run code. Ask its author for the state dict, saved with torch.save(model.state_dict(), FILE).'
            ) from error
        why = re.search(r'WeightsUnpickler error: (.*)', str(error))  # the rest of the message advises unsafe loading
        raise UserError(
            f'{filename} is not a checkpoint that torch can read, or holds more than plain data: '
            f'{why[1][:200] if why else first_line(error)}'
        ) from error
    except (PermissionError, UserError):
        raise
    except Exception as error:  # damaged bytes can make torch's readers raise any exception
        raise UserError(f'{filename} is damaged or not a checkpoint: {first_line(error)}') from error
    return _as_resumed(loaded)


def _load_safetensors(filename: str, path: str, map_location) -> dict:
    """The tensors of a safetensors file as a checkpoint, with its metadata under 'meta'. The format has no code."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, 'pt', device=str(map_location or 'cpu')) as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  not a dict
            return dict(meta=dict(file.metadata() or {}), state_dict=tensors)
    except SafetensorError as error:
        raise UserError(f'{filename} is damaged or not a safetensors file: {first_line(error)}') from error


def as_data(loaded: Any, filename: str) -> Any:
    """Copy what a loader has read into new plain containers, with config text under names that mmengine ignores.

    Raises:
        UserError: if there is more than plain data in it.
    """
    try:
        loaded = _materialise(loaded)
    except (pickle.UnpicklingError, RecursionError) as error:
        raise UserError(f'{filename} holds more than plain data: {first_line(error)}') from error
    return _as_resumed(loaded)


def _as_resumed(loaded: Any) -> Any:
    """A checkpoint without the keys whose text mmengine's resume and inferencers would execute as Python, and with the
    message hub's histories."""
    meta, hub = (loaded.get(key) if isinstance(loaded, dict) else None for key in ('meta', 'message_hub'))
    if isinstance(meta, dict):
        for key in ('config', 'cfg'):
            if key in meta:
                meta[f'{key}_text'] = meta.pop(key)
    parts = {key: value for key, value in hub.items() if isinstance(value, dict)} if isinstance(hub, dict) else {}
    for part in ('runtime_info', 'resumed_keys'):
        parts.get(part, {}).pop('cfg', None)
    scalars = parts.get('log_scalars', {})
    for name, value in scalars.items():
        if isinstance(value, dict) and set(value) == {'log_history', 'count_history', 'max_length'}:
            log, count = value['log_history'].tolist(), value['count_history'].tolist()
            scalars[name] = HistoryBuffer(log, count, value['max_length'])
    return loaded


class _DType:
    """Stands in for ``numpy.dtype``: the code of a dtype of plain numbers."""

    def __init__(self, code='', align=False, copy=False):
        self.code, self.order = code, '='

    def __setstate__(self, state):
        self.order = state[1]

    def resolve(self) -> np.dtype:
        if not re.fullmatch(r'[biufc](1|2|4|8|16)', str(self.code)) or self.order not in '<>|=':
            raise pickle.UnpicklingError(f'unsupported numpy dtype {self.code!r}')
        return np.dtype(self.code).newbyteorder(self.order)


class _Array:
    """Stands in for ``numpy.ndarray`` and its constructor: shape, dtype and bytes, which :meth:`resolve` checks."""

    def __init__(self, *args):
        self.state = None

    def __setstate__(self, state):
        self.state = state

    def resolve(self) -> np.ndarray:
        _, shape, dtype, fortran, data = self.state
        if not (isinstance(dtype, _DType) and isinstance(data, bytes)):
            raise pickle.UnpicklingError('unsupported numpy array')
        return np.frombuffer(data, dtype.resolve()).reshape(shape, order='F' if fortran else 'C').copy()


class _History:
    """Stands in for mmengine's ``HistoryBuffer``."""

    def __setstate__(self, state):
        self.state = state

    def resolve(self) -> HistoryBuffer:
        log, count = _materialise(self.state['_log_history']), _materialise(self.state['_count_history'])
        return HistoryBuffer(log.tolist(), count.tolist(), int(self.state.get('max_length', 1000000)))


class _Scalar:
    """Stands in for a numpy scalar."""

    def __init__(self, dtype, data):
        self.dtype, self.data = dtype, data

    def __setstate__(self, state):
        raise pickle.UnpicklingError('unsupported numpy scalar')

    def resolve(self) -> int | float | bool:
        if not (isinstance(self.dtype, _DType) and isinstance(self.data, bytes)):
            raise pickle.UnpicklingError('unsupported numpy scalar')
        return np.frombuffer(self.data, self.dtype.resolve(), count=1)[0].item()


def _no_attribute(*_) -> None:
    """Stands in for ``getattr``: HistoryBuffer's pickle looks up its own methods, which the class has anyway."""


def _empty_bytes() -> bytes:
    """Stands in for ``bytes``: so pickle writes empty ones, those of an empty array. A number would be a length."""
    return b''


_STAND_INS = [
    (_empty_bytes, 'builtins.bytes'),
    (_History, 'mmengine.logging.history_buffer.HistoryBuffer'),
    (_no_attribute, 'builtins.getattr'),
    (_Array, 'numpy.ndarray'),
    (_DType, 'numpy.dtype'),
    *((_Array, f'numpy.{core}.multiarray._reconstruct') for core in ('core', '_core')),
    *((_Scalar, f'numpy.{core}.multiarray.scalar') for core in ('core', '_core')),
]


def _materialise(value: Any) -> Any:
    """A copy in new containers, with the stand-ins resolved.

    The loaded containers are discarded: an OrderedDict's pickle may set attributes on it, such as ``pop``. The copy
    keeps only the ``_metadata`` of a state dict.
    """
    if isinstance(value, (_Array, _History, _Scalar)):
        return value.resolve()
    if isinstance(value, torch.Tensor):
        return _plain_tensor(value)
    if isinstance(value, dict):
        kind = OrderedDict if isinstance(value, OrderedDict) else dict
        made = kind((_as_key(key), _materialise(item)) for key, item in dict.items(value))
        metadata = vars(value).get('_metadata') if kind is OrderedDict else None
        if isinstance(metadata, dict):
            made._metadata = _materialise(metadata)
        return made
    if isinstance(value, list):
        return [_materialise(item) for item in list.__iter__(value)]
    if isinstance(value, tuple):
        items = [_materialise(item) for item in tuple.__iter__(value)]
        return torch.Size(items) if isinstance(value, torch.Size) else tuple(items)
    if isinstance(value, (set, frozenset)):
        return {_as_key(item) for item in value}
    if isinstance(value, PLAIN):
        return value
    raise pickle.UnpicklingError(f'unsupported content of type {type(value).__name__}')


def _as_key(value: Any) -> Any:
    """The key of a dict or set. Stand-ins have different hashes, but their values may all have the same hash."""
    made = _materialise(value)
    if isinstance(made, complex) or (isinstance(value, tuple) and any(isinstance(v, (_Scalar, tuple)) for v in value)):
        raise pickle.UnpicklingError('unsupported key of a dict or set')
    return made


def _plain_tensor(value: torch.Tensor) -> torch.Tensor:
    """The tensor without attributes. A few bytes could claim any shape: by strides of 0, sparse, or without storage."""
    if value.layout != torch.strided or value.is_quantized or value.is_meta:
        raise pickle.UnpicklingError(f'unsupported kind of tensor ({value.dtype}, {value.layout}, {value.device})')
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise pickle.UnpicklingError(f'a tensor of shape {tuple(value.shape)} is larger than its data')
    return value.detach()
