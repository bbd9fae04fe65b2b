"""The steps for bfloat16 features on CPUs: torch's products and convolutions, and C++ for the passes between them.

torch's products and convolutions use the CPU's bfloat16 instructions, and its elementwise operations do not: each of
them converts to float32 and back, and together they take longer than the products. So these are the steps of
:mod:`..plain`, chunk by chunk, with the passes in C++.
"""

import torch
from torch import Tensor

from ..passes import Passes, Sums
from ..plain import PlainSteps
from . import norm
from .library import load
from .pointers import data_ptr, plain_rows, plain_values, rows_ptr, values_ptr


class Bfloat16Steps(PlainSteps):
    name = 'native'

    batch_norm_backward_sums = staticmethod(norm.batch_norm_backward_sums)
    batch_norm_backward = staticmethod(norm.batch_norm_backward)


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


bfloat16_steps = Bfloat16Steps(Passes(_activate, _consume, norm.statistics))
