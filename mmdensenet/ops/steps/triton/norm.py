"""Kernels without products: statistics, the norm with ReLU, the sums of its backward, and its deferred correction.

Each reads its matrices once and is bound by memory. A tile is 4096 elements, or 2048 of three matrices or more, whose
width covers the columns up to 128.
Matrices are rows with contiguous channels and any row stride, in fp32, bf16 or fp16; vectors are fp32.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from . import tiles
from .common import (
    cdiv,
    launch,
    merge_statistics,
    multiple_of,
    next_power_of_2,
    processors,
    relu,
    row_major,
    split_rows,
    store_statistics,
    sum_partials,
    tile_statistics,
    unit,
)

TILE = 4096


def statistics(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each column of (M, C), each (C,) fp32."""
    return _statistics(row_major(rows))


def copy_with_statistics(rows: Tensor, out: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Write ``rows``, times ``mask`` if there is one, to ``out``; return the statistics of what was written."""
    return _statistics(row_major(rows), out, mask)


def norm_relu(rows: Tensor, scale: Tensor | None, shift: Tensor) -> Tensor:
    """relu(rows * scale + shift), (M, C), contiguous; scale None for ones."""
    rows = row_major(rows)
    out = torch.empty_like(rows, memory_format=torch.contiguous_format)
    m, c = rows.shape
    aligned = unit(c, rows.stride(0))
    block, _ = _block('norm_relu', rows, aligned)
    launch(
        norm_relu_kernel,
        (cdiv(m, block['BLOCK_M']) * cdiv(c, block['BLOCK_C']),),
        rows,
        shift if scale is None else scale,
        shift,
        out,
        m,
        c,
        rows.stride(0),
        SCALE=scale is not None,
        UNIT=aligned,
        **block,
    )
    return out


def masked_sums(grad: Tensor, rows: Tensor, scale: Tensor, shift: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    """Set ``grad`` to 0 where rows * scale + shift <= 0, in place; return its sums as ``batch_norm_backward_sums``."""
    return _sums(grad, rows, mean, scale, shift)


def batch_norm_backward_sums(grad: Tensor, rows: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    """Column sums of ``grad`` and of grad * (rows - mean), each (C,) fp32, for (M, C) matrices."""
    return _sums(row_major(grad), row_major(rows), mean)


def batch_norm_backward(
    grad: Tensor,
    rows: Tensor,
    mean: Tensor,
    rstd: Tensor,
    coefficient: Tensor,
    sum_grad: Tensor,
    sum_centred: Tensor,
    total: int | Tensor,
    add: Tensor | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """coefficient * (grad - sum_grad / total - (rows - mean) * rstd**2 * sum_centred / total) + add, in rows' dtype.

    Args:
        grad, rows, add: (M, C); ``add`` may be missing.
        mean, rstd, coefficient, sum_grad, sum_centred: (C,).
        total: rows of all ranks.
        out: (M, C), written; a new matrix by default. It may be ``grad`` or ``add``.
    """
    grad, rows = row_major(grad), row_major(rows)
    add = None if add is None else row_major(add)
    if out is None:
        out = torch.empty_like(rows, memory_format=torch.contiguous_format)
    if isinstance(total, Tensor):
        sum_grad, sum_centred, total = sum_grad / total, sum_centred / total, 1
    m, c = rows.shape
    strides = [matrix.stride(0) for matrix in (grad, rows, rows if add is None else add, out)]
    aligned = unit(c, *strides)
    block, _ = _block('batch_norm_backward' if add is None else 'batch_norm_backward_add', rows, aligned, TILE // 2)
    launch(
        batch_norm_backward_kernel,
        (cdiv(m, block['BLOCK_M']) * cdiv(c, block['BLOCK_C']),),
        grad,
        rows,
        mean,
        rstd,
        coefficient,
        sum_grad,
        sum_centred,
        1 / total,
        rows if add is None else add,
        out,
        m,
        c,
        *strides,
        ADD=add is not None,
        UNIT=aligned,
        **block,
    )
    return out


def new_norm(mean: Tensor, var: Tensor, eps: float, gamma: Tensor, beta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Reciprocal deviation, scale and shift (C,) of a norm over channels of this mean and biased variance."""
    rstd = torch.empty_like(mean)
    return rstd, *_extend(mean, var, mean, var, rstd, len(mean), eps, gamma, beta)


def extend_norm(
    new_mean: Tensor,
    new_var: Tensor,
    mean: Tensor,
    var: Tensor,
    rstd: Tensor,
    stop: int,
    eps: float,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
) -> tuple[Tensor, Tensor] | None:
    """Write the statistics of the newest channels; return scale and shift of a norm over all channels so far.

    Args:
        new_mean, new_var: (k,), of the channels from stop - k to stop.
        mean, var, rstd: (C,), of which that part is written.
        gamma, beta: (stop,), of the norm; None where there is none.
    """
    return _extend(new_mean, new_var, mean, var, rstd, stop, eps, gamma, beta)


def _extend(new_mean, new_var, mean, var, rstd, stop, eps, gamma, beta) -> tuple[Tensor, Tensor] | None:
    out = None if gamma is None else torch.empty(2, stop, dtype=torch.float32, device=mean.device)
    launch(
        extend_norm_kernel,
        (cdiv(stop, 128),),
        new_mean,
        new_var,
        mean,
        var,
        rstd,
        rstd if gamma is None else gamma,
        rstd if beta is None else beta,
        rstd if out is None else out,
        stop - len(new_mean),
        stop,
        eps,
        AFFINE=gamma is not None,
        BLOCK_C=128,
        num_warps=4,
    )
    return None if out is None else out.unbind()


@tiles.cached
def norm_blocks(
    kernel: str, rows: int, columns: int, size: int, aligned: int, elements: int, chip: str
) -> dict[str, int]:
    """The tile, of so many ``elements`` by the rule, and programs for each processor where they reduce over rows."""
    width = max(16, min(128, next_power_of_2(columns)))
    rule = dict(BLOCK_M=elements // width, BLOCK_C=width, num_warps=4, programs=4)
    return tiles.choose(rule, chip, kernel, rows, columns, columns, size, aligned >= 8)


def _block(kernel: str, rows: Tensor, aligned: int, elements: int = TILE) -> tuple[dict[str, int], int]:
    """The tile of a kernel, and its programs for each processor."""
    chip = tiles.chip(rows.device)
    block = dict(norm_blocks(kernel, *rows.shape, rows.element_size(), aligned, elements, chip))
    return block, block.pop('programs')


def _split(rows: Tensor, block: dict[str, int], programs: int) -> tuple[tuple[int, int], int]:
    """The grid of a reduction over rows, (column blocks, programs), and the tiles of a program."""
    column_blocks = cdiv(rows.shape[1], block['BLOCK_C'])
    limit = max(1, programs * processors(rows.device) // column_blocks)
    programs, steps = split_rows(rows.shape[0], block['BLOCK_M'], limit)
    return (column_blocks, programs), steps


def _statistics(rows: Tensor, out: Tensor | None = None, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    m, c = rows.shape
    target, factors = rows if out is None else out, rows if mask is None else mask
    strides = [matrix.stride(0) for matrix in (rows, factors, target)]
    aligned = unit(c, *strides)
    kernel = 'statistics' if out is None else 'copy_with_statistics'
    block, programs = _block(kernel, rows, aligned, TILE if mask is None else TILE // 2)
    grid, steps = _split(rows, block, programs)
    partial = torch.empty(grid[1], 2, c, dtype=torch.float32, device=rows.device)
    launch(
        statistics_kernel,
        grid,
        rows,
        factors,
        target,
        partial,
        m,
        c,
        *strides,
        steps,
        COPY=out is not None,
        MASK=mask is not None,
        UNIT=aligned,
        **block,
    )
    return merge_statistics(partial, m, steps * block['BLOCK_M'])


def _sums(
    grad: Tensor, rows: Tensor, mean: Tensor, scale: Tensor | None = None, shift: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    m, c = rows.shape
    strides = grad.stride(0), rows.stride(0)
    aligned = unit(c, *strides)
    block, programs = _block('batch_norm_sums' if scale is None else 'masked_sums', rows, aligned)
    grid, steps = _split(rows, block, programs)
    partial = torch.empty(grid[1], 2, c, dtype=torch.float32, device=rows.device)
    launch(
        batch_norm_sums_kernel,
        grid,
        grad,
        rows,
        mean,
        mean if scale is None else scale,
        mean if shift is None else shift,
        partial,
        m,
        c,
        *strides,
        steps,
        MASK=scale is not None,
        UNIT=aligned,
        **block,
    )
    return sum_partials(partial).unbind()


@triton.jit(do_not_specialize=['rows', 'tiles_per_program'])
def statistics_kernel(
    x_ptr,  # (M, C), stride (x_stride, 1)
    mask_ptr,  # (M, C) factors, stride (mask_stride, 1); read if MASK
    out_ptr,  # (M, C), stride (out_stride, 1); written if COPY
    partial_ptr,  # (P, 2, C) fp32, contiguous, written: mean and biased variance of each program's rows
    rows,
    columns,
    x_stride,
    mask_stride,
    out_stride,
    tiles_per_program,
    COPY: tl.constexpr,
    MASK: tl.constexpr,
    UNIT: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    columns = multiple_of(columns, UNIT)
    x_stride = multiple_of(x_stride, UNIT)
    mask_stride = multiple_of(mask_stride, UNIT)
    out_stride = multiple_of(out_stride, UNIT)
    program = tl.program_id(1)
    c = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    mean = tl.zeros((BLOCK_C,), tl.float32)
    variance = tl.zeros((BLOCK_C,), tl.float32)
    first = program * tiles_per_program * BLOCK_M
    stop = tl.minimum(rows, first + tiles_per_program * BLOCK_M)
    for start in range(first, stop, BLOCK_M):
        m = start + tl.arange(0, BLOCK_M)
        present = (m < rows)[:, None] & (c < columns)[None, :]
        m = m.to(tl.int64)[:, None]
        x = tl.load(x_ptr + m * x_stride + c[None, :], mask=present, other=0.0)
        if COPY:
            if MASK:
                x = x.to(tl.float32) * tl.load(mask_ptr + m * mask_stride + c[None, :], mask=present, other=0.0)
            x = x.to(out_ptr.dtype.element_ty)
            tl.store(out_ptr + m * out_stride + c[None, :], x, mask=present)
        size = tl.minimum(stop - start, BLOCK_M).to(tl.float32)
        tile_mean, tile_variance = tile_statistics(x.to(tl.float32), present, size)
        # Chan et al. (1979)
        weight = size / (start - first + size)
        difference = tile_mean - mean
        mean += weight * difference
        variance += weight * (tile_variance - variance + (1 - weight) * difference * difference)
    store_statistics(partial_ptr, program, columns, c, mean, variance)


@triton.jit(do_not_specialize=['start', 'stop', 'eps'])
def extend_norm_kernel(
    new_mean_ptr,  # (stop - start,) fp32, as all pointers but gamma's and beta's
    new_var_ptr,  # (stop - start,)
    mean_ptr,  # (C,), from start to stop written, as the two that follow
    var_ptr,
    rstd_ptr,
    gamma_ptr,  # (stop,), any dtype; read if AFFINE
    beta_ptr,  # (stop,), any dtype; read if AFFINE
    out_ptr,  # (2, stop), contiguous, written if AFFINE: scale and shift
    start,
    stop,
    eps,
    AFFINE: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    c = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    new = (c >= start) & (c < stop)
    new_mean = tl.load(new_mean_ptr + c - start, mask=new, other=0.0)
    new_var = tl.load(new_var_ptr + c - start, mask=new, other=0.0)
    new_rstd = 1.0 / tl.sqrt_rn(new_var + eps)
    if AFFINE:
        # the channels of before; the new ones are not read where they are being written
        mean = tl.where(new, new_mean, tl.load(mean_ptr + c, mask=c < start, other=0.0))
        rstd = tl.where(new, new_rstd, tl.load(rstd_ptr + c, mask=c < start, other=0.0))
        scale = tl.load(gamma_ptr + c, mask=c < stop, other=0.0).to(tl.float32) * rstd
        shift = tl.load(beta_ptr + c, mask=c < stop, other=0.0).to(tl.float32) - mean * scale
        tl.store(out_ptr + c, scale, mask=c < stop)
        tl.store(out_ptr + stop + c, shift, mask=c < stop)
    tl.store(mean_ptr + c, new_mean, mask=new)
    tl.store(var_ptr + c, new_var, mask=new)
    tl.store(rstd_ptr + c, new_rstd, mask=new)


@triton.jit(do_not_specialize=['rows'])
def norm_relu_kernel(
    x_ptr,  # (M, C), stride (x_stride, 1)
    scale_ptr,  # (C,) fp32; read if SCALE
    shift_ptr,  # (C,) fp32
    out_ptr,  # (M, C), contiguous, written
    rows,
    columns,
    x_stride,
    SCALE: tl.constexpr,  # else the scale is 1
    UNIT: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    columns = multiple_of(columns, UNIT)
    x_stride = multiple_of(x_stride, UNIT)
    # one grid dimension: the others end at 65535
    column_blocks = tl.cdiv(columns, BLOCK_C)
    m = tl.program_id(0) // column_blocks * BLOCK_M + tl.arange(0, BLOCK_M)
    c = tl.program_id(0) % column_blocks * BLOCK_C + tl.arange(0, BLOCK_C)
    present = (m < rows)[:, None] & (c < columns)[None, :]
    m = m.to(tl.int64)[:, None]
    shift = tl.load(shift_ptr + c, mask=c < columns, other=0.0)
    x = tl.load(x_ptr + m * x_stride + c[None, :], mask=present, other=0.0).to(tl.float32)
    if SCALE:
        x *= tl.load(scale_ptr + c, mask=c < columns, other=0.0)[None, :]
    u = relu(x + shift[None, :])
    tl.store(out_ptr + m * columns + c[None, :], u.to(out_ptr.dtype.element_ty), mask=present)


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
    # one grid dimension: the others end at 65535
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
