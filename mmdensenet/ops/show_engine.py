"""Names the steps that compute a dense block on this machine."""

import os

import torch

from .steps import VARIABLE, steps_for

_INSTRUCTIONS = {
    'avx2': 'AVX2',
    'avx512': 'AVX-512',
    'avx512_bf16': 'AVX-512 with bfloat16',
    'neon': 'NEON',
    'native': 'for exactly this processor',
}


def engine(device: torch.device | str = 'cpu', dtype: torch.dtype = torch.float32) -> str:
    """The steps for features of this type: ``'C++ kernels, AVX2'``, ``'plain torch: no kernels for ...'``.

    Raises:
        RuntimeError: as :func:`~mmdensenet.ops.steps.steps_for`.
    """
    device = torch.device(device)
    name = steps_for(torch.empty(0, device=device), dtype).name
    if name == 'native':
        from .steps.native.library import load

        return f'C++ kernels, {_INSTRUCTIONS[load().variant]}'
    if name == 'triton':
        return 'Triton kernels'
    if (os.environ.get(VARIABLE) or 'auto') != 'auto':
        return f'plain torch: {VARIABLE}={os.environ[VARIABLE]}'
    if device.type == 'cpu':
        from .steps import native

        return f'plain torch: {native.why_not(dtype)}'
    if device.type == 'cuda':
        try:
            from .steps import triton
        except ImportError as error:
            return f'plain torch: Triton is not installed ({error})'
        return f'plain torch: {triton.why_not(device, dtype)}'
    return 'plain torch: no kernels for this platform'


def show_engine() -> None:
    """Print which steps compute dense blocks, on the CPU and on the GPU where there is one."""
    print(f'CPU: {engine()}')
    if torch.cuda.is_available():
        print(f'GPU: {engine("cuda")}')


def kernel_variant() -> str | None:
    """The set of instructions that the C++ kernels for CPUs are compiled for, None where plain torch is used."""
    if steps_for(torch.empty(0), torch.float32).name != 'native':
        return None
    from .steps.native.library import load

    return load().variant
