"""Which steps compute a block: plain torch on any device, C++ on CPUs if it is built, Triton on CUDA GPUs."""

import functools
import os

import torch
from torch import Tensor

from .plain import plain_steps
from .protocol import Steps

#: 'auto' (the default): the fastest steps available. 'plain': plain torch. 'native', 'triton': these, or an error.
VARIABLE = 'MMDENSENET_KERNELS'
CHOICES = ('auto', 'plain', 'native', 'triton')


def steps_for(x: Tensor, dtype: torch.dtype) -> Steps:
    """The steps for features of this type on x's device.

    Raises:
        RuntimeError: if the environment variable MMDENSENET_KERNELS names steps that cannot run here, or has an
            unknown value.
    """
    wanted = os.environ.get(VARIABLE) or 'auto'
    if wanted not in CHOICES:
        raise RuntimeError(f'{VARIABLE}={wanted}: choose one of {", ".join(CHOICES)}')
    return _choose(wanted, x.device, dtype)


@functools.cache
def _choose(wanted: str, device: torch.device, dtype: torch.dtype) -> Steps:
    reason = 'it is for CPUs'
    if device.type == 'cpu' and wanted in ('auto', 'native'):
        from . import native

        reason = native.why_not(dtype)
        if reason is None:
            return native.steps_of(dtype)
    elif wanted == 'triton' or (wanted == 'auto' and device.type == 'cuda'):
        try:
            from . import triton
        except ImportError as error:
            reason = f'Triton is not installed ({error})'
        else:
            reason = triton.why_not(device, dtype)
            if reason is None:
                return triton.triton_steps
    if wanted in ('auto', 'plain'):
        return plain_steps
    raise RuntimeError(f'{VARIABLE}={wanted} cannot be used: {reason}')
