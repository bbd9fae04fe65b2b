"""Kernels without products: the statistics of rows, the norm with ReLU, and the norm of channels that are appended.

Each reads its matrices once and is bound by memory. A tile has 4096 elements, or 2048 if a kernel reads three matrices
or more; it is as wide as the matrix, up to 128 columns.
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
    relu,
    row_major,
    sm_count,
    split_rows,
    store_statistics,
    tile_statistics,
    unit,
)

TILE = 4096


def statistics(rows):
    return _statistics(row_major(rows))


def copy_with_statistics(rows: Tensor, out: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Write ``rows``, times ``mask`` if given, to ``out``; return the statistics of ``out``."""
    return _statistics(row_major(rows), out, mask)


def norm_relu(rows: Tensor, scale: Tensor | None, shift: Tensor) -> Tensor:
    """relu(rows * scale + shift), (M, C), contiguous; scale None for ones."""
    rows = row_major(rows)
    out = torch.empty_like(rows, memory_format=torch.contiguous_format)
    m, c = rows.shape
    aligned = unit(c, rows.stride(0))
    block, _ = kernel_block('norm_relu', rows, aligned)
    launch(
        norm_relu_kernel, (cdiv(m, block['BLOCK_M']) * cdiv(c, block['BLOCK_C']),),
        rows, shift if scale is None else scale, shift, out,
        m, c, rows.stride(0),
        SCALE=scale is not None, UNIT=aligned, **block,
    )  # fmt: skip
    return out


def new_norm(mean, var, eps, gamma, beta):
    rstd = torch.empty_like(mean)
    return rstd, *extend_norm(mean, var, mean, var, rstd, len(mean), eps, gamma, beta)


def extend_norm(new_mean, new_var, mean, var, rstd, stop, eps, gamma=None, beta=None):
    out = None if gamma is None else torch.empty(2, stop, dtype=torch.float32, device=mean.device)
    launch(
        extend_norm_kernel, (cdiv(stop, 128),),
        new_mean, new_var, mean, var, rstd, rstd if gamma is None else gamma, rstd if beta is None else beta,
        rstd if out is None else out,
        stop - len(new_mean), stop, eps,
        AFFINE=gamma is not None, BLOCK_C=128, num_warps=4,
    )  # fmt: skip
    return None if out is None else out.unbind()


@tiles.cached
def norm_blocks(
    kernel: str, rows: int, columns: int, size: int, aligned: int, elements: int, chip: str
) -> dict[str, int]:
    """The tile, of ``elements`` elements unless it was measured, and programs a multiprocessor of a sum over rows."""
    width = max(16, min(128, next_power_of_2(columns)))
    rule = dict(BLOCK_M=elements // width, BLOCK_C=width, num_warps=4, programs=4)
    return tiles.choose(rule, chip, kernel, rows, columns, columns, size, aligned >= 8)


def kernel_block(kernel: str, rows: Tensor, aligned: int, elements: int = TILE) -> tuple[dict[str, int], int]:
    """The tile of a kernel, and its programs a multiprocessor."""
    chip = tiles.chip(rows.device)
    block = dict(norm_blocks(kernel, *rows.shape, rows.element_size(), aligned, elements, chip))
    return block, block.pop('programs')


def reduction_grid(rows: Tensor, block: dict[str, int], programs: int) -> tuple[tuple[int, int], int]:
    """The grid of a reduction over rows, (column blocks, programs), and the tiles of a program."""
    column_blocks = cdiv(rows.shape[1], block['BLOCK_C'])
    limit = max(1, programs * sm_count(rows.device) // column_blocks)
    programs, steps = split_rows(rows.shape[0], block['BLOCK_M'], limit)
    return (column_blocks, programs), steps


def _statistics(rows: Tensor, out: Tensor | None = None, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    m, c = rows.shape
    target, factors = rows if out is None else out, rows if mask is None else mask
    strides = [matrix.stride(0) for matrix in (rows, factors, target)]
    aligned = unit(c, *strides)
    kernel = 'statistics' if out is None else 'copy_with_statistics'
    block, programs = kernel_block(kernel, rows, aligned, TILE if mask is None else TILE // 2)
    grid, steps = reduction_grid(rows, block, programs)
    partial = torch.empty(grid[1], 2, c, dtype=torch.float32, device=rows.device)
    launch(
        statistics_kernel, grid,
        rows, factors, target, partial,
        m, c, *strides, steps,
        COPY=out is not None, MASK=mask is not None, UNIT=aligned, **block,
    )  # fmt: skip
    return merge_statistics(partial, m, steps * block['BLOCK_M'])


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
        # read the earlier channels only: other programs may be writing the new ones
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
    # one grid dimension: the others have at most 65535 blocks
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
