"""Batch norm's passes over float32 and bfloat16 rows."""

from collections.abc import Callable

import torch

from .library import load
from .pointers import new_sums, plain_rows, plain_values, rows_ptr, sums_ptr, vectors_ptr


def statistics(rows):
    rows = plain_rows(rows)
    count, c = rows.shape
    mean, var = (torch.empty(c, dtype=torch.float32) for _ in range(2))
    _kernel('statistics', rows.dtype)(
        *rows_ptr(rows, 'rows', count, c, rows.dtype), count, c,
        *vectors_ptr(c, mean=mean, var=var),
        torch.get_num_threads(),
    )  # fmt: skip
    return mean, var


def batch_norm_backward_sums(grad, rows, mean):
    grad, rows, mean = plain_rows(grad), plain_rows(rows), plain_values(mean)
    (count, c), dtype = rows.shape, rows.dtype
    sums = new_sums(c)
    _kernel('batch_norm_backward_sums', dtype)(
        *rows_ptr(grad, 'grad', count, c, dtype),
        *rows_ptr(rows, 'rows', count, c, dtype), count, c,
        *vectors_ptr(c, mean=mean),
        *sums_ptr(sums),
        torch.get_num_threads(),
    )  # fmt: skip
    return sums[0].float(), sums[1].float()


def batch_norm_backward(grad, rows, mean, rstd, coefficient, sum_grad, sum_centred, total, add=None, out=None):
    mean_grad, mean_grad_normalised = sum_grad / total, sum_centred * rstd / total
    grad, rows = plain_rows(grad), plain_rows(rows)
    add = None if add is None else plain_rows(add)
    if out is None:
        out = torch.empty_like(rows, memory_format=torch.contiguous_format)
    mean, coefficient = plain_values(mean), plain_values(coefficient)
    offset, slope = (-mean_grad * coefficient).float(), (-rstd * mean_grad_normalised * coefficient).float()
    (count, c), dtype = rows.shape, rows.dtype
    _kernel('batch_norm_backward', dtype)(
        *rows_ptr(grad, 'grad', count, c, dtype),
        *rows_ptr(rows, 'rows', count, c, dtype), count, c,
        *vectors_ptr(c, mean=mean, coefficient=coefficient, offset=offset, slope=slope),
        *((None, 0) if add is None else rows_ptr(add, 'add', count, c, dtype)),
        *rows_ptr(out, 'out', count, c, dtype, written=True),
        torch.get_num_threads(),
    )  # fmt: skip
    return out


def _kernel(name: str, dtype: torch.dtype) -> Callable[..., None]:
    """The kernel for rows of this dtype."""
    return getattr(load().functions, f'{name}_bfloat16' if dtype is torch.bfloat16 else name)
