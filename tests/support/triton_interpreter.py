"""Triton's interpreter for tests of kernels on CPU tensors: two faults of its bfloat16 are mended here.

conftest.py turns it on, for it must be on before anything imports Triton.
"""

import numpy as np
import torch

DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'


def mend() -> None:
    """bfloat16 is kept as 16-bit integers: products multiply the bits (triton issue 11584), rounding truncates."""
    import triton.language as tl
    from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

    cast, dot = InterpreterBuilder.cast_impl, InterpreterBuilder.create_dot

    def widen(handle: TensorHandle) -> TensorHandle:
        if handle.dtype.scalar != tl.bfloat16:
            return handle
        return TensorHandle((handle.data.astype(np.uint32) << 16).view(np.float32), tl.float32)

    def cast_impl(self, src, dst_type):
        if src.dtype.scalar == tl.float32 and dst_type.scalar == tl.bfloat16:
            narrow = torch.from_numpy(np.ascontiguousarray(src.data)).bfloat16()
            return TensorHandle(narrow.view(torch.int16).numpy().view(np.uint16), tl.bfloat16)
        if src.dtype.scalar == tl.bfloat16:
            src = widen(src)
            return src if dst_type.scalar == tl.float32 else cast(self, src, dst_type)
        return cast(self, src, dst_type)

    def create_dot(self, a, b, *args):
        return dot(self, widen(a), widen(b), *args)

    InterpreterBuilder.cast_impl, InterpreterBuilder.create_dot = cast_impl, create_dot
    InterpreterBuilder.create_fp_ext = InterpreterBuilder.create_fp_trunc = cast_impl
