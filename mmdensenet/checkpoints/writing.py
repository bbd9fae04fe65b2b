"""Writing checkpoints of plain data: ``torch.load(file, weights_only=True)`` reads them without mmdensenet."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

from mmdensenet.compat.faults import wrapping
from mmdensenet.compat.mmengine import WRITING

from .checkpoint_file import write_whole

#: key of a checkpoint's meta: the id of the run that wrote it
RUN_KEY = 'run_id'
#: types of a checkpoint's leaves
PLAIN = (
    type(None),
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    bytearray,
    torch.Tensor,
    torch.dtype,
    torch.device,
    torch.layout,
    # other loaders than ours return these
    np.ndarray,
    np.generic,
    HistoryBuffer,
)


def save_whole(checkpoint: Any, filename: str) -> None:
    """Write a checkpoint of plain data atomically, with a checksum.

    Raises:
        UserError: if it cannot be written; see :func:`mmdensenet.checkpoints.checkpoint_file.write_whole`.
    """
    is_dict = isinstance(checkpoint, dict)
    meta = checkpoint.get('meta') if is_dict else None
    run = meta.get(RUN_KEY) if isinstance(meta, dict) else None
    write_whole(to_plain(checkpoint), filename, resumable=is_dict and 'optimizer' in checkpoint, run=run)


@WRITING.repaired_by
def write_plain_checkpoints() -> None:
    """Let mmengine's ``save_checkpoint`` write plain data, and files through :func:`save_whole`."""
    from mmengine.runner import checkpoint as checkpoint_module

    @wrapping(checkpoint_module, 'save_checkpoint')
    def save_plain(save: Callable, checkpoint, filename, file_client_args=None, backend_args=None):
        if '://' in str(filename) or file_client_args or backend_args:
            save(to_plain(checkpoint), filename, file_client_args, backend_args)
        else:
            save_whole(checkpoint, filename)


def to_plain(value: Any) -> Any:
    """A copy of a checkpoint as tensors, numbers, text and plain containers, for ``torch.load(weights_only=True)``."""
    if isinstance(value, HistoryBuffer):
        log, count = value.data
        return dict(
            log_history=torch.as_tensor(np.asarray(log, dtype=np.float64)),
            count_history=torch.as_tensor(np.asarray(count, dtype=np.int64)),
            max_length=value.max_length,
        )
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (bytes, bytearray)):  # torch cannot read empty bytes
        return torch.tensor(list(value), dtype=torch.uint8)
    if isinstance(value, np.ndarray):
        native = value.astype(value.dtype.newbyteorder('='))
        return torch.from_numpy(native) if value.dtype.kind in 'biuf' else to_plain(value.tolist())
    if isinstance(value, dict):
        plain = (OrderedDict if isinstance(value, OrderedDict) else dict)(
            # whoever loads the state makes its functions again, such as those of OneCycleLR's schedule
            (to_plain(key), to_plain(item))
            for key, item in value.items()
            if not callable(item) or isinstance(item, torch.Tensor)
        )
        if hasattr(value, '_metadata'):  # of nn.Module.state_dict()
            plain._metadata = value._metadata
        return plain
    if isinstance(value, (list, set, frozenset)):
        return [to_plain(item) for item in value]
    if isinstance(value, tuple):
        return tuple(to_plain(item) for item in value)
    if isinstance(value, PLAIN):
        return value
    return str(value)
