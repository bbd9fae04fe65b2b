"""Buffers whose values the config sets, and no checkpoint."""

from collections.abc import Sequence

import torch
from torch import nn


class FixedBuffers(nn.Module):
    """A module with a buffer of each of these values, in no state dict; None registers one that is not there.

    ``to_empty`` leaves buffers without values, and ``load_state_dict(assign=True)`` leaves them on 'meta', for which
    torch's convolution reads foreign memory. No state dict would set them: they get their values again.
    """

    def __init__(self, **values: Sequence | None):
        super().__init__()
        self._values = values
        for name, given in values.items():
            self.register_buffer(name, None if given is None else torch.tensor(given), persistent=False)

    def _apply(self, fn, recurse: bool = True):
        had_no_values = [name for name, tensor in self._buffers.items() if tensor is not None and tensor.is_meta]
        super()._apply(fn, recurse)
        for name in had_no_values:
            if not getattr(self, name).is_meta:
                getattr(self, name).copy_(torch.tensor(self._values[name]))
        return self

    def _load_from_state_dict(self, state_dict: dict, prefix: str, local_metadata: dict, *args) -> None:
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)
        if local_metadata.get('assign_to_params_buffers'):
            for name, tensor in self._buffers.items():
                if tensor is not None and tensor.is_meta:
                    self._buffers[name] = torch.tensor(self._values[name], dtype=tensor.dtype, device='cpu')
