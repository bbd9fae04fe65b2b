"""Adds an entry to a checkpoint's metadata, and computes the hash of the weights to which the entry is bound."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mmdensenet.errors import UserError
from mmdensenet.output import output_file

from .checkpoint import load_from_file
from .checkpoint_content import require_weights
from .checkpoint_file import inspect_file, write_whole
from .writing import to_plain

#: the entry of a checkpoint's meta with :class:`mmdensenet.results.decisions.Decisions` as plain data
DECISIONS = 'decisions'


def hash_weights(state_dict: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 of a model's floating-point tensors: their names, types, shapes and values, in the order of the names.

    It is the same for any file, device and memory format of these weights. Counts, such as of batches, are left out:
    they change no score.
    """
    digest = hashlib.sha256()
    for name in sorted(state_dict):
        tensor = state_dict[name].detach()
        if tensor.is_floating_point():
            digest.update(f'{name} {tensor.dtype} {tuple(tensor.shape)}\n'.encode())
            digest.update(tensor.cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def meta_file(checkpoint: str | Path, out: str | Path | None = None) -> Path:
    """The file that :func:`write_meta` writes; checked before the work, whose result would otherwise be lost.

    Raises:
        UserError: if it is no .pth file here, or cannot be written.
    """
    file = Path(checkpoint if out is None else out).expanduser()
    if '://' in str(checkpoint) or file.suffix == '.safetensors':
        raise UserError(f'{checkpoint if "://" in str(checkpoint) else file} cannot be written: give out=FILE.pth.')
    return output_file(file, (file.suffix.lower(),))


def write_meta(checkpoint: str | Path, key: str, value: Any, out: str | Path | None = None) -> None:
    """Add an entry to a checkpoint's ``meta``, or replace it; weights and state of training stay as they are.

    Args:
        value: plain data, so that ``torch.load(FILE, weights_only=True)`` reads the file without mmdensenet.
        out: file to write; by default the checkpoint itself, which is whole at every moment.

    Raises:
        UserError: if it is no .pth file here, or cannot be read or written.
    """
    path, out = Path(checkpoint).expanduser(), meta_file(checkpoint, out)
    content = load_from_file(str(path), map_location='cpu')
    require_weights(content, str(checkpoint))
    if 'state_dict' not in content:  # tensors alone
        content = dict(state_dict=content)
    meta = content.get('meta')
    meta = dict(meta) if isinstance(meta, dict) else {}
    for name in ('config', 'cfg'):  # reading renamed them, so that mmengine does not execute them
        if f'{name}_text' in meta:
            meta[name] = meta.pop(f'{name}_text')
    meta[key] = value
    content['meta'] = meta
    written = inspect_file(path)
    write_whole(
        to_plain(content),
        out,
        resumable='optimizer' in content and written.resumable,
        run=written.run,
        # the file keeps its time: a run resumes from its newest checkpoint, not from the last changed one
        time_ns=written.time_ns,
    )
