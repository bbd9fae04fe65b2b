"""Kernels of the norm's backward: its sums, and its deferred correction.

Each reads its matrices once and is bound by memory; tiles and layouts are those of :mod:`.norm`.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .common import cdiv, launch, multiple_of, row_major, sum_partials, unit
from .norm import TILE, kernel_block, reduction_grid


def masked_sums(grad: Tensor, rows: Tensor, scale: Tensor, shift: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    """Set ``grad`` to 0 where rows * scale + shift <= 0, in place; return its sums as ``batch_norm_backward_sums``."""
    return _sums(grad, rows, mean, scale, shift)


def batch_norm_backward_sums(grad, rows, mean):
    return _sums(row_major(grad), row_major(rows), mean)


def batch_norm_backward(grad, rows, mean, rstd, coefficient, sum_grad, sum_centred, total, add=None, out=None):
    """``out`` may also be ``add``."""
    grad, rows = row_major(grad), row_major(rows)
    add = None if add is None else row_major(add)
    if out is None:
        out = torch.empty_like(rows, memory_format=torch.contiguous_format)
    if isinstance(total, Tensor):
        sum_grad, sum_centred, total = sum_grad / total, sum_centred / total, 1
    m, c = rows.shape
    strides = [matrix.stride(0) for matrix in (grad, rows, rows if add is None else add, out)]
    aligned = unit(c, *strides)
    block, _ = kernel_block(
        'batch_norm_backward' if add is None else 'batch_norm_backward_add', rows, aligned, TILE // 2
    )
    launch(
        batch_norm_backward_kernel, (cdiv(m, block['BLOCK_M']) * cdiv(c, block['BLOCK_C']),),
        grad, rows, mean, rstd, coefficient, sum_grad, sum_centred, 1 / total, rows if add is None else add, out,
        m, c, *strides,
        ADD=add is not None, UNIT=aligned, **block,
    )  # fmt: skip
    return out


def _sums(
    grad: Tensor, rows: Tensor, mean: Tensor, scale: Tensor | None = None, shift: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    m, c = rows.shape
    strides = grad.stride(0), rows.stride(0)
    aligned = unit(c, *strides)
    block, programs = kernel_block('batch_norm_sums' if scale is None else 'masked_sums', rows, aligned)
    grid, steps = reduction_grid(rows, block, programs)
    partial = torch.empty(grid[1], 2, c, dtype=torch.float32, device=rows.device)
    launch(
        batch_norm_sums_kernel, grid,
        grad, rows, mean, mean if scale is None else scale, mean if shift is None else shift, partial,
        m, c, *strides, steps,
        MASK=scale is not None, UNIT=aligned, **block,
    )  # fmt: skip
    return sum_partials(partial).unbind()


@triton.jit(do_not_specialize=['rows', 'tiles_per_program'])
def batch_norm_sums_kernel(
    grad_ptr,  # (M, C), stride (grad_stride, 1); with MASK also written: 0 where the ReLU was
    x_ptr,  # (M, C), stride (x_stride, 1)
    mean_ptr,  # (C,) fp32
    scale_ptr,  # (C,) fp32; read if MASK
    shift_ptr,  # (C,) fp32; read if MASK
    partial_ptr,  # (P, 2, C) fp32, contiguous, written: sums of grad and of grad * (x - mean)
    rows,
    columns,
    grad_stride,
    x_stride,
    tiles_per_program,
    MASK: tl.constexpr,
    UNIT: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    columns = multiple_of(columns, UNIT)
    grad_stride = multiple_of(grad_stride, UNIT)
    x_stride = multiple_of(x_stride, UNIT)
    program = tl.program_id(1)
    c = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    inside = c < columns
    mean = tl.load(mean_ptr + c, mask=inside, other=0.0)
    if MASK:
        scale = tl.load(scale_ptr + c, mask=inside, other=0.0)
        shift = tl.load(shift_ptr + c, mask=inside, other=0.0)
    total = tl.zeros((BLOCK_C,), tl.float32)
    total_centred = tl.zeros((BLOCK_C,), tl.float32)
    first = program * tiles_per_program * BLOCK_M
    stop = tl.minimum(rows, first + tiles_per_program * BLOCK_M)
    for start in range(first, stop, BLOCK_M):
        m = start + tl.arange(0, BLOCK_M)
        present = (m < rows)[:, None] & inside[None, :]
        m = m.to(tl.int64)[:, None]
        grad_pointers = grad_ptr + m * grad_stride + c[None, :]
        grad = tl.load(grad_pointers, mask=present, other=0.0)
        x = tl.load(x_ptr + m * x_stride + c[None, :], mask=present, other=0.0).to(tl.float32)
        if MASK:
            grad = tl.where(x * scale[None, :] + shift[None, :] <= 0, 0.0, grad.to(tl.float32))
            tl.store(grad_pointers, grad.to(grad_ptr.dtype.element_ty), mask=present)
        grad = grad.to(tl.float32)
        total += tl.sum(grad, 0)
        total_centred += tl.sum(grad * (x - mean[None, :]), 0)
    tl.store(partial_ptr + program * 2 * columns + c, total, mask=inside)
    tl.store(partial_ptr + (program * 2 + 1) * columns + c, total_centred, mask=inside)


@triton.jit(do_not_specialize=['rows', 'share'])
def batch_norm_backward_kernel(
    grad_ptr,  # (M, C), stride (grad_stride, 1)
    x_ptr,  # (M, C), stride (x_stride, 1)
    mean_ptr,  # (C,) fp32, as the four pointers that follow
    rstd_ptr,
    coefficient_ptr,
    sum_grad_ptr,
    sum_centred_ptr,
    share,  # 1 / total
    add_ptr,  # (M, C), stride (add_stride, 1); read if ADD
    out_ptr,  # (M, C), stride (out_stride, 1), written; may be grad_ptr or add_ptr
    rows,
    columns,
    grad_stride,
    x_stride,
    add_stride,
    out_stride,
    ADD: tl.constexpr,
    UNIT: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    columns = multiple_of(columns, UNIT)
    grad_stride = multiple_of(grad_stride, UNIT)
    x_stride = multiple_of(x_stride, UNIT)
    add_stride = multiple_of(add_stride, UNIT)
    out_stride = multiple_of(out_stride, UNIT)
    # one grid dimension: the others have at most 65535 blocks
    column_blocks = tl.cdiv(columns, BLOCK_C)
    m = tl.program_id(0) // column_blocks * BLOCK_M + tl.arange(0, BLOCK_M)
    c = tl.program_id(0) % column_blocks * BLOCK_C + tl.arange(0, BLOCK_C)
    inside = c < columns
    present = (m < rows)[:, None] & inside[None, :]
    m = m.to(tl.int64)[:, None]
    coefficient = tl.load(coefficient_ptr + c, mask=inside, other=0.0)
    mean = tl.load(mean_ptr + c, mask=inside, other=0.0)
    mean_grad = tl.load(sum_grad_ptr + c, mask=inside, other=0.0) * share
    rstd = tl.load(rstd_ptr + c, mask=inside, other=0.0)
    slope = tl.load(sum_centred_ptr + c, mask=inside, other=0.0) * share * rstd * rstd
    grad = tl.load(grad_ptr + m * grad_stride + c[None, :], mask=present, other=0.0).to(tl.float32)
    x = tl.load(x_ptr + m * x_stride + c[None, :], mask=present, other=0.0).to(tl.float32)
    out = coefficient[None, :] * (grad - mean_grad[None, :] - (x - mean[None, :]) * slope[None, :])
    if ADD:
        out += tl.load(add_ptr + m * add_stride + c[None, :], mask=present, other=0.0).to(tl.float32)
    tl.store(out_ptr + m * out_stride + c[None, :], out.to(out_ptr.dtype.element_ty), mask=present)
