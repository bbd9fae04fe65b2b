"""The passes over rows of the steps in :mod:`.plain`, one chunk of rows at a time, in plain torch.

Between the products of a chunk all work is elementwise. :class:`Passes` names these passes, so that fused ones can
replace torch's, which needs several operations for each.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..rows import Shape

#: bytes of a temporary that holds a chunk of a wide tensor: it fits in the cache, and the overhead of calls is small
CHUNK_BYTES = 4 * 2**20
#: how many times larger it is on a GPU, whose launches cost more and whose memory is faster
GPU_FACTOR = 64


def statistics(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each column, (C,) and (C,).

    The sums are of deviations from the first row: sums of raw squares would cancel. torch.var_mean is slow over rows.
    """
    mean, var = _statistics(rows, torch.promote_types(rows.dtype, torch.float32))
    # float32 squares of large values are infinite, and their difference is NaN
    if rows.device.type == 'cpu' and rows.dtype is not torch.float64 and not var.isfinite().all():
        mean, var = (value.to(mean.dtype) for value in _statistics(rows, torch.float64))
    return mean, var


def _statistics(rows: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    # where the first row is not finite, differences from it would be NaN
    shift = torch.nan_to_num(rows[0].to(dtype), 0, 0, 0)
    total, squares = torch.zeros_like(shift), torch.zeros_like(shift)
    for part in chunks(rows):
        deviation = part - shift
        total += deviation.sum(0)
        squares += deviation.square_().sum(0)
    mean = total / rows.shape[0]
    return mean + shift, (squares / rows.shape[0] - mean.square()).clamp_min_(0)


def activate(rows: Tensor, scale: Tensor | None, shift: Tensor) -> Tensor:
    """relu(rows * scale + shift), in the rows' dtype."""
    out = rows + shift if scale is None else torch.addcmul(shift, rows, scale)
    return out.relu_().to(rows.dtype)


def consume(
    grad: Tensor,
    z: Tensor,
    rows: Tensor,
    mean: Tensor,
    coefficient: Tensor | None,
    out: Tensor,
    overwrite: bool,
    sums: 'Sums',
) -> None:
    """Backward of a chunk, from the gradient of relu's result.

    With dz = grad where z is positive, else 0: ``out += coefficient * dz``, and the sums of dz are added to ``sums``.

    Args:
        grad: (m, C), contiguous; overwritten.
        z: (m, C), contiguous: relu's result.
        rows: (m, C), the norm's input.
        mean: (C,), subtracted from the rows before they are summed, so that no digits cancel.
        coefficient: (C,), or None to set ``out`` to dz.
        out: (m, C), changed in place.
        overwrite: set ``out`` instead of adding to it.
        sums: changed in place.
    """
    # in the rows' own dtype, which is exact and moves fewer bytes
    dz = torch.ops.aten.threshold_backward(grad, z, 0, grad_input=out if coefficient is None else grad)
    dz = to_float32(dz)
    sums.dz += dz.sum(0)
    sums.centred += torch.sub(rows, mean).mul_(dz).sum(0)
    if coefficient is None:
        return
    if overwrite:
        torch.mul(dz, coefficient, out=out)
    elif out.dtype == dz.dtype:
        out.addcmul_(dz, coefficient)
    else:
        out.add_(dz * coefficient)


class Sums:
    """Sums over all chunks, in at least float32: the weight's gradient, dz, and dz times the centred rows."""

    def __init__(self, mean: Tensor, weight: Tensor | None = None):
        if weight is not None:
            self.weight = torch.zeros_like(weight, dtype=mean.dtype, memory_format=torch.contiguous_format)
        self.dz, self.centred = torch.zeros_like(mean), torch.zeros_like(mean)

    def add_product(self, grad: Tensor, z: Tensor) -> None:
        if z.dtype == self.weight.dtype:
            self.weight.addmm_(grad.t(), z)
        else:
            self.weight += torch.mm(grad.t(), z)

    def result(self, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.weight.to(weight.dtype), self.dz, self.centred


@dataclass(frozen=True)
class Passes:
    """Functions with the signatures of those above."""

    activate: Callable[[Tensor, Tensor | None, Tensor], Tensor]
    consume: Callable[..., None]
    statistics: Callable[[Tensor], tuple[Tensor, Tensor]]


def _chunk_bytes(rows: Tensor) -> int:
    # 'meta' counts as a CPU: memory that is estimated on it has small temporaries on all devices
    return CHUNK_BYTES if rows.device.type in ('cpu', 'meta') else GPU_FACTOR * CHUNK_BYTES


def chunks(rows: Tensor, *others: Tensor) -> Iterator:
    """Matching chunks of the matrices: chunks of ``rows`` alone, or tuples with those of ``others``."""
    step = max(64, _chunk_bytes(rows) // (rows.shape[1] * max(4, rows.element_size())))
    for start in range(0, rows.shape[0], step):
        part = rows[start : start + step]
        yield (part, *(other[start : start + step] for other in others)) if others else part


def images(rows: Tensor, shape: Shape, *others: Tensor) -> Iterator[tuple[Tensor, tuple[Tensor, ...], Shape]]:
    """Matching chunks of whole images, and the shape (N, H, W) of each chunk."""
    n, h, w = shape
    step = max(1, _chunk_bytes(rows) // (h * w * rows.shape[1] * max(4, rows.element_size())))
    for first in range(0, n, step):
        images = min(step, n - first)
        part = slice(first * h * w, (first + images) * h * w)
        yield rows[part], tuple(other[part] for other in others), (images, h, w)


def to_float32(tensor: Tensor) -> Tensor:
    """The tensor as float32, or as it is if its dtype is wider."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


TORCH = Passes(activate, consume, statistics)
