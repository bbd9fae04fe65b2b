"""The steps in C++ for CPUs: whole steps for float32, and the elementwise passes of bfloat16.

Installing the package compiles the kernels if there is a compiler; ``python tools/build_kernels.py`` compiles them for
exactly this processor (:mod:`.build`). Without them plain torch computes the same. Python calls them through ctypes
(:mod:`.library`). A tensor that they could not read safely raises ValueError (:mod:`.pointers`).
"""

import functools
import logging

import torch

from ..protocol import Steps
from .bfloat16 import bfloat16_steps
from .float32 import float32_steps
from .library import NoKernelsError, UnusableKernelsError, load


def why_not(dtype: torch.dtype = torch.float32) -> str | None:
    """Why these steps cannot compute with features of this dtype, or None if they can."""
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
