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
from . import _at, _library, _rows, _vector, batch_norm_backward, batch_norm_backward_sums, statistics

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
    rows, shift = _rows(rows), _vector(shift)
    scale = None if scale is None else _vector(scale)
    out = torch.empty_like(rows, memory_format=torch.contiguous_format)
    _library().activate_bfloat16(
        _at(rows), rows.stride(0), *rows.shape, _at(scale), _at(shift), _at(out), torch.get_num_threads()
    )
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
    grad, rows, mean = grad.contiguous(), _rows(rows), _vector(mean)
    coefficient = None if coefficient is None else _vector(coefficient)
    _library().consume_bfloat16(
        _at(grad), _at(z), _at(rows), rows.stride(0), *rows.shape, _at(mean), _at(coefficient), _at(out), out.stride(0),
        overwrite, _at(sums.dz), _at(sums.centred), torch.get_num_threads(),
    )  # fmt: skip


_PASSES = Passes(_activate, _consume, statistics)

norm_relu_matmul = partial(plain.norm_relu_matmul, passes=_PASSES)
norm_relu_matmul_backward = partial(plain.norm_relu_matmul_backward, passes=_PASSES)
norm_relu_conv3x3 = partial(plain.norm_relu_conv3x3, passes=_PASSES)
norm_relu_conv3x3_backward = partial(plain.norm_relu_conv3x3_backward, passes=_PASSES)
norm_relu_conv3x3_backward_into = partial(plain.norm_relu_conv3x3_backward_into, passes=_PASSES)
norm_relu_pool_matmul = partial(plain.norm_relu_pool_matmul, passes=_PASSES)
norm_relu_pool_matmul_backward = partial(plain.norm_relu_pool_matmul_backward, passes=_PASSES)
norm_relu_max_pool = partial(plain.norm_relu_max_pool, passes=_PASSES)
norm_relu_max_pool_backward = partial(plain.norm_relu_max_pool_backward, passes=_PASSES)
