"""The steps in C++ for CPUs: float32, each pass fused into one, products in registers; and what bfloat16 needs.

Installing the package compiles them where there is a compiler, and ``python tools/build_kernels.py`` for exactly this
processor (:mod:`.build`); without them plain torch does the same. They are called through ctypes (:mod:`.library`), and
what the kernels could not read safely raises ValueError (:mod:`.pointers`).
"""

import functools
import logging

import torch

from ..protocol import Steps
from .bfloat16 import bfloat16_steps
from .float32 import float32_steps
from .library import NoKernelsError, UnusableKernelsError, load


def why_not(dtype: torch.dtype = torch.float32) -> str | None:
    """The reason for which these steps cannot be used for features of this type, or None."""
    if dtype not in (torch.float32, torch.bfloat16):
        return 'the C++ kernels are for float32 and bfloat16'
    try:
        load()
    except NoKernelsError as reason:
        if isinstance(reason, UnusableKernelsError):
            _say_once(str(reason))
        return str(reason)
    return None


@functools.cache
def _say_once(reason: str) -> None:
    logging.getLogger(__name__).warning('Plain torch is used: %s', reason)


def steps_of(dtype: torch.dtype) -> Steps:
    """The steps for features of this type."""
    return bfloat16_steps if dtype == torch.bfloat16 else float32_steps
