"""The steps for bfloat16 features on CPUs: torch's products and convolutions, and C++ for the passes between them.

For this type processors have instructions that torch's products and convolutions use, and its elementwise operations do
not: they convert to float32 and back one by one, and take longer than the products. So the steps are those of
:mod:`mmdensenet.ops.plain`, chunk by chunk, with other passes.
"""

from functools import partial

import torch
from torch import Tensor

from .. import plain
from ..norms import extend_norm, new_norm
from ..passes import Passes, Sums
from . import batch_norm_backward, batch_norm_backward_sums, statistics
from .library import load
from .pointers import data_ptr, plain_rows, plain_values, rows_ptr, values_ptr

__all__ = [
    'batch_norm_backward',
    'batch_norm_backward_sums',
    'extend_norm',
    'new_norm',
    'norm_relu_conv3x3',
    'norm_relu_conv3x3_backward',
    'norm_relu_conv3x3_backward_into',
    'norm_relu_matmul',
    'norm_relu_matmul_backward',
    'norm_relu_max_pool',
    'norm_relu_max_pool_backward',
    'norm_relu_pool_matmul',
    'norm_relu_pool_matmul_backward',
    'statistics',
]


def _activate(rows: Tensor, scale: Tensor | None, shift: Tensor) -> Tensor:
    rows, shift = plain_rows(rows), plain_values(shift)
    scale = None if scale is None else plain_values(scale)
    count, c = rows.shape
    out = torch.empty_like(rows, memory_format=torch.contiguous_format)
    load().functions.activate_bfloat16(
        *rows_ptr(rows, 'rows', count, c, torch.bfloat16), count, c,
        None if scale is None else values_ptr(scale, 'scale', c), values_ptr(shift, 'shift', c),
        data_ptr(out, 'out', (count, c), torch.bfloat16),
        torch.get_num_threads(),
    )  # fmt: skip
    return out


def _consume(
    grad: Tensor,
    z: Tensor,
    rows: Tensor,
    mean: Tensor,
    coefficient: Tensor | None,
    out: Tensor,
    overwrite: bool,
    sums: Sums,
) -> None:
    grad, rows, mean = grad.contiguous(), plain_rows(rows), plain_values(mean)
    coefficient = None if coefficient is None else plain_values(coefficient)
    count, c = rows.shape
    load().functions.consume_bfloat16(
        data_ptr(grad, 'grad', (count, c), torch.bfloat16), data_ptr(z, 'z', (count, c), torch.bfloat16),
        *rows_ptr(rows, 'rows', count, c, torch.bfloat16), count, c,
        values_ptr(mean, 'mean', c), None if coefficient is None else values_ptr(coefficient, 'coefficient', c),
        *rows_ptr(out, 'out', count, c, torch.bfloat16, written=True), overwrite,
        values_ptr(sums.dz, 'sums', c), values_ptr(sums.centred, 'sums', c),
        torch.get_num_threads(),
    )  # fmt: skip


PASSES = Passes(_activate, _consume, statistics)

norm_relu_matmul = partial(plain.norm_relu_matmul, passes=PASSES)
norm_relu_matmul_backward = partial(plain.norm_relu_matmul_backward, passes=PASSES)
norm_relu_conv3x3 = partial(plain.norm_relu_conv3x3, passes=PASSES)
norm_relu_conv3x3_backward = partial(plain.norm_relu_conv3x3_backward, passes=PASSES)
norm_relu_conv3x3_backward_into = partial(plain.norm_relu_conv3x3_backward_into, passes=PASSES)
norm_relu_pool_matmul = partial(plain.norm_relu_pool_matmul, passes=PASSES)
norm_relu_pool_matmul_backward = partial(plain.norm_relu_pool_matmul_backward, passes=PASSES)
norm_relu_max_pool = partial(plain.norm_relu_max_pool, passes=PASSES)
norm_relu_max_pool_backward = partial(plain.norm_relu_max_pool_backward, passes=PASSES)
