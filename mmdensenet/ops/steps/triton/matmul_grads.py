"""The two kernels of :mod:`.matmul_backward` for what one kernel cannot do: dz with its sums, and dweight."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from . import tiles
from .common import cdiv, launch, multiple_of, precision, relu, sm_count, split_rows, sum_partials, unit
from .matmul import input_rows


def grad_input(
    features, scale, shift, mean, weight, grad, coefficient, accumulator, overwrite, shape, pooled=None
) -> tuple[Tensor, Tensor]:
    """Add coefficient * dz to ``accumulator``, or write it there; return sum(dz) and sum(dz * (features - mean)).

    With the images' ``shape`` (N, H, W) g is of pooled rows, and the pooled activation is written to ``pooled``.
    """
    rows, c, j = grad.shape[0], features.shape[1], weight.shape[0]
    strides = [matrix.stride(0) for matrix in (features, weight, accumulator)]
    aligned = unit(c, *strides)
    block = grad_input_blocks(rows, j, c, features.dtype, aligned, shape is not None, tiles.chip(features.device))
    column_blocks = cdiv(c, block['BLOCK_C'])
    row_blocks = cdiv(rows, block['BLOCK_M'])
    partial = torch.empty(row_blocks, 2, c, dtype=torch.float32, device=features.device)
    launch(
        grad_input_kernel, (column_blocks * row_blocks,),
        features, scale, shift, mean, weight, grad, coefficient, accumulator, features if pooled is None else pooled,
        partial,
        rows, c, j, *((1, 1) if shape is None else shape[1:]), features.stride(0), weight.stride(0), grad.stride(0),
        accumulator.stride(0),
        OVERWRITE=overwrite, POOL=shape is not None, UNIT=aligned, COLUMN_UNIT=unit(j, grad.stride(0)),
        PRECISION=precision(features.dtype), **block,
    )  # fmt: skip
    return sum_partials(partial).unbind()


def grad_weight(features, grad, scale=None, shift=None) -> Tensor:
    """dweight (J, C) fp32 = g.t() @ relu(features * scale + shift), or g.t() @ features without a scale."""
    (rows, c), j = features.shape, grad.shape[1]
    aligned, activate, chip = unit(c, features.stride(0)), scale is not None, tiles.chip(features.device)
    block = dict(grad_weight_blocks(rows, j, c, features.dtype, aligned, activate, chip))
    grid = cdiv(c, block['BLOCK_C']), cdiv(j, block['BLOCK_J'])
    limit = max(1, block.pop('programs') * sm_count(features.device) // (grid[0] * grid[1]))
    programs, steps = split_rows(rows, block['BLOCK_M'], limit)
    partial = torch.empty(programs, j, c, dtype=torch.float32, device=features.device)
    launch(
        grad_weight_kernel, (*grid, programs),
        features, grad if scale is None else scale, grad if shift is None else shift, grad, partial,
        rows, c, j, features.stride(0), grad.stride(0), steps,
        ACTIVATE=activate, UNIT=aligned, COLUMN_UNIT=unit(j, grad.stride(0)), PRECISION=precision(features.dtype),
        **block,
    )  # fmt: skip
    return sum_partials(partial)


@tiles.cached
def grad_input_blocks(
    rows: int, columns: int, channels: int, dtype: torch.dtype, aligned: int, pool: bool, chip: str
) -> dict[str, int]:
    """The tile of the kernel for dz."""
    block_c = 64 if channels > 32 else 32
    if dtype == torch.float32:
        rule = dict(BLOCK_M=64, BLOCK_C=block_c, BLOCK_J=16, num_warps=8, num_stages=2)
    else:
        rule = dict(BLOCK_M=32 if pool else 64, BLOCK_C=block_c, BLOCK_J=64, num_warps=4, num_stages=3)
    kernel = 'grad_input_pool' if pool else 'grad_input'
    return tiles.choose(rule, chip, kernel, rows, columns, channels, dtype.itemsize, aligned >= 8)


@tiles.cached
def grad_weight_blocks(
    rows: int, columns: int, channels: int, dtype: torch.dtype, aligned: int, activate: bool, chip: str
) -> dict[str, int]:
    """The tile of the kernel for dweight, and its programs a multiprocessor."""
    block_c = 64 if channels > 32 else 32
    block_j = 64 if columns > 32 else 32
    if dtype == torch.float32:
        rule = dict(BLOCK_M=16, BLOCK_C=block_c, BLOCK_J=block_j, num_warps=8, num_stages=2, programs=2)
    else:
        rule = dict(BLOCK_M=64, BLOCK_C=block_c, BLOCK_J=block_j, num_warps=4, num_stages=3, programs=2)
    kernel = 'grad_weight' if activate else 'grad_weight_pool'
    return tiles.choose(rule, chip, kernel, rows, columns, channels, dtype.itemsize, aligned >= 8)


@triton.jit
def load_grad(grad_ptr, m, j, rows, columns, grad_stride):
    """A tile of g, with zeros outside of it."""
    present = (m < rows)[:, None] & (j < columns)[None, :]
    return tl.load(grad_ptr + m.to(tl.int64)[:, None] * grad_stride + j[None, :], mask=present, other=0.0)


@triton.jit
def accumulate(pointers, value, present, OVERWRITE: tl.constexpr):
    """Add ``value`` to the stored elements, or overwrite them."""
    if not OVERWRITE:
        value += tl.load(pointers, mask=present, other=0.0).to(tl.float32)
    tl.store(pointers, value.to(pointers.dtype.element_ty), mask=present)


@triton.jit(do_not_specialize=['rows', 'height', 'width'])
def grad_input_kernel(
    x_ptr,  # (M, C), or (N*H*W, C) with POOL, stride (x_stride, 1)
    scale_ptr,  # (C,) fp32
    shift_ptr,  # (C,) fp32
    mean_ptr,  # (C,) fp32
    weight_ptr,  # (J, C), stride (weight_stride, 1), dtype of x
    grad_ptr,  # (M, J), stride (grad_stride, 1), dtype of x
    coefficient_ptr,  # (C,) fp32
    accumulator_ptr,  # like x, stride (accumulator_stride, 1), read and written
    pooled_ptr,  # (M, C), contiguous, dtype of x; the pooled activation, written if POOL
    partial_ptr,  # (P, 2, C) fp32, contiguous, written: sum(dz), sum(dz * (x - mean)) of a tile's rows
    rows,  # M, of g
    channels,
    columns,  # J
    height,  # of the images before pooling
    width,
    x_stride,
    weight_stride,
    grad_stride,
    accumulator_stride,
    OVERWRITE: tl.constexpr,
    POOL: tl.constexpr,
    UNIT: tl.constexpr,
    COLUMN_UNIT: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_J: tl.constexpr,
):
    channels = multiple_of(channels, UNIT)
    x_stride = multiple_of(x_stride, UNIT)
    weight_stride = multiple_of(weight_stride, UNIT)
    accumulator_stride = multiple_of(accumulator_stride, UNIT)
    columns = multiple_of(columns, COLUMN_UNIT)
    grad_stride = multiple_of(grad_stride, COLUMN_UNIT)
    # blocks of channels vary fastest: programs that read the same rows of g run at the same time
    column_blocks = tl.cdiv(channels, BLOCK_C)
    tile = tl.program_id(0) // column_blocks
    m = tile * BLOCK_M + tl.arange(0, BLOCK_M)
    c = tl.program_id(0) % column_blocks * BLOCK_C + tl.arange(0, BLOCK_C)
    inside = c < channels
    product = tl.zeros((BLOCK_M, BLOCK_C), tl.float32)
    for column in range(0, columns, BLOCK_J):
        j = column + tl.arange(0, BLOCK_J)
        g = load_grad(grad_ptr, m, j, rows, columns, grad_stride)
        w = tl.load(
            weight_ptr + j[:, None] * weight_stride + c[None, :],
            mask=(j < columns)[:, None] & inside[None, :],
            other=0.0,
        )
        product = tl.dot(g, w, product, input_precision=PRECISION)
    scale = tl.load(scale_ptr + c, mask=inside, other=0.0)
    shift = tl.load(shift_ptr + c, mask=inside, other=0.0)
    mean = tl.load(mean_ptr + c, mask=inside, other=0.0)
    coefficient = tl.load(coefficient_ptr + c, mask=inside, other=0.0)
    present = (m < rows)[:, None] & inside[None, :]
    row = input_rows(m, height, width, POOL).to(tl.int64)
    partial_ptr += tile * 2 * channels
    if POOL:
        product *= 0.25
        total = tl.zeros((BLOCK_C,), tl.float32)
        total_centred = tl.zeros((BLOCK_C,), tl.float32)
        pooled = tl.zeros((BLOCK_M, BLOCK_C), tl.float32)
        for corner in range(4):
            corner_row = (row + (corner // 2 * width + corner % 2))[:, None]
            x = tl.load(x_ptr + corner_row * x_stride + c[None, :], mask=present, other=0.0).to(tl.float32)
            affine = x * scale[None, :] + shift[None, :]
            dz = tl.where(affine <= 0, 0.0, product)
            total += tl.sum(dz, 0)
            total_centred += tl.sum(dz * (x - mean[None, :]), 0)
            pointers = accumulator_ptr + corner_row * accumulator_stride + c[None, :]
            accumulate(pointers, coefficient[None, :] * dz, present, OVERWRITE)
            pooled += relu(affine)
        pooled = (0.25 * pooled).to(pooled_ptr.dtype.element_ty)
        tl.store(pooled_ptr + m.to(tl.int64)[:, None] * channels + c[None, :], pooled, mask=present)
        tl.store(partial_ptr + c, total, mask=inside)
        tl.store(partial_ptr + channels + c, total_centred, mask=inside)
    else:
        x = tl.load(x_ptr + row[:, None] * x_stride + c[None, :], mask=present, other=0.0).to(tl.float32)
        dz = tl.where(x * scale[None, :] + shift[None, :] <= 0, 0.0, product)
        pointers = accumulator_ptr + row[:, None] * accumulator_stride + c[None, :]
        accumulate(pointers, coefficient[None, :] * dz, present, OVERWRITE)
        tl.store(partial_ptr + c, tl.sum(dz, 0), mask=inside)
        tl.store(partial_ptr + channels + c, tl.sum(dz * (x - mean[None, :]), 0), mask=inside)


@triton.jit(do_not_specialize=['rows', 'tiles_per_program'])
def grad_weight_kernel(
    x_ptr,  # (M, C), stride (x_stride, 1)
    scale_ptr,  # (C,) fp32; read if ACTIVATE
    shift_ptr,  # (C,) fp32; read if ACTIVATE
    grad_ptr,  # (M, J), stride (grad_stride, 1), dtype of x
    partial_ptr,  # (P, J, C) fp32, contiguous, written: g.t() @ act of a program's rows
    rows,
    channels,
    columns,  # J
    x_stride,
    grad_stride,
    tiles_per_program,
    ACTIVATE: tl.constexpr,  # act = relu(x * scale + shift), else x itself
    UNIT: tl.constexpr,
    COLUMN_UNIT: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_J: tl.constexpr,
):
    channels = multiple_of(channels, UNIT)
    x_stride = multiple_of(x_stride, UNIT)
    columns = multiple_of(columns, COLUMN_UNIT)
    grad_stride = multiple_of(grad_stride, COLUMN_UNIT)
    program = tl.program_id(2)
    c = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    j = tl.program_id(1) * BLOCK_J + tl.arange(0, BLOCK_J)
    inside = c < channels
    if ACTIVATE:
        scale = tl.load(scale_ptr + c, mask=inside, other=0.0)
        shift = tl.load(shift_ptr + c, mask=inside, other=0.0)
    acc = tl.zeros((BLOCK_J, BLOCK_C), tl.float32)
    first = program * tiles_per_program * BLOCK_M
    stop = tl.minimum(rows, first + tiles_per_program * BLOCK_M)
    for start in range(first, stop, BLOCK_M):
        m = start + tl.arange(0, BLOCK_M)
        present = (m < rows)[:, None] & inside[None, :]
        x = tl.load(x_ptr + m.to(tl.int64)[:, None] * x_stride + c[None, :], mask=present, other=0.0)
        if ACTIVATE:
            x = relu(x.to(tl.float32) * scale[None, :] + shift[None, :]).to(x_ptr.dtype.element_ty)
        g = load_grad(grad_ptr, m, j, rows, columns, grad_stride)
        acc = tl.dot(tl.trans(g), x, acc, input_precision=PRECISION)
    out = partial_ptr + program * columns * channels + j[:, None] * channels + c[None, :]
    tl.store(out, acc, mask=(j < columns)[:, None] & inside[None, :])
