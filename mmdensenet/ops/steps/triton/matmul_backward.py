"""Backward of BN-ReLU-1x1, with and without pooling in front of the product.

Let act = relu(z), z = features * scale + shift, and g the gradient of act @ weight.t(). Then dz = (g @ weight) where
z > 0, and dweight = g.t() @ act. The kernels never store dz: they multiply it by a coefficient per channel, add it to
the accumulator, which all consumers of the features share, and sum it for the norm's own gradients.

There are two ways to the same result:

- One kernel, for 16-bit features, up to 192 columns, and a GPU that multiplies from shared memory (Hopper). A program
  owns a block of channels and a range of rows. Its parts of weight and dweight stay on the chip, and it reads features
  and accumulator once. Traffic: 3 M * C, and g for each block of 64 channels, mostly from the cache.
- Two kernels otherwise (:mod:`.matmul_grads`), one for dz and its sums, one for dweight: for float32, whose operands do
  not fit; for older GPUs, which would keep the weight in registers; and for the transition, whose weight is too tall.
  Traffic: 4 M * C. The first kernel of the transition stores the pooled activation, a quarter of the features.

Limits: channels contiguous, fp32, bf16 or fp16, fewer than 2^31 rows.
"""

import torch
import triton
import triton.language as tl

from . import tiles
from .common import (
    cdiv,
    has_wgmma,
    launch,
    multiple_of,
    relu,
    row_major,
    sm_count,
    split_columns,
    split_rows,
    sum_partials,
    unit,
)
from .matmul import pooled_rows
from .matmul_grads import accumulate, grad_input, grad_weight, load_grad


def norm_relu_matmul_backward(features, scale, shift, mean, weight, grad, coefficient, accumulator, overwrite=False):
    features, grad = row_major(features), row_major(grad)
    operands = (features, scale, shift, mean, row_major(weight.to(features.dtype)), grad, coefficient, accumulator)
    device, aligned = features.device, unit(features.shape[1], features.stride(0), accumulator.stride(0))
    if is_fused(
        *grad.shape, features.shape[1], features.element_size(), aligned, has_wgmma(device), tiles.chip(device)
    ):
        dweight, *sums = _fused(*operands, overwrite)
    else:
        sums = grad_input(*operands, overwrite, None)
        dweight = grad_weight(features, grad, scale, shift)
    return dweight.to(weight.dtype), *sums


def norm_relu_pool_matmul_backward(
    features, scale, shift, mean, weight, shape, grad, coefficient, accumulator, overwrite=False
):
    """Pixels that the pooling drops have no gradient: with ``overwrite`` their rows become 0."""
    features, grad = row_major(features), row_major(grad)
    n, height, width = shape
    pooled = features.new_empty(pooled_rows(shape), features.shape[1])
    if overwrite:
        images = accumulator.unflatten(0, (n, height, width))
        images[:, height // 2 * 2 :] = 0
        images[:, :, width // 2 * 2 :] = 0
    operands = (features, scale, shift, mean, row_major(weight.to(features.dtype)), grad, coefficient, accumulator)
    sums = grad_input(*operands, overwrite, shape, pooled)
    return grad_weight(pooled, grad).to(weight.dtype), *sums


@tiles.cached
def is_fused(rows: int, columns: int, channels: int, size: int, aligned: int, wgmma: bool, chip: str) -> bool:
    """Whether one kernel does everything: where it can, unless two were measured to be faster."""
    if size != 2 or columns > 192 or not wgmma:
        return False
    way = tiles.measured(chip, 'norm_relu_matmul_backward_way', rows, columns, channels, size, aligned >= 8)
    return way is None or bool(way['fused'])


@tiles.cached
def fused_blocks(rows: int, columns: int, channels: int, size: int, aligned: int, chip: str) -> dict[str, int]:
    """The tile of the kernel that does everything, and its programs a multiprocessor.

    An element of the features has ``size`` bytes, and their rows start at multiples of ``aligned`` elements.
    """
    # a warp group multiplies 64 rows of g.t()
    first, second = split_columns(columns, least=64)
    block = dict(FIRST=first, SECOND=second, BLOCK_M=32, BLOCK_C=64 if channels > 32 else 32)
    if aligned >= 8:
        # two programs at a time on a multiprocessor; narrow loads need more registers for their addresses
        block['maxnreg'] = 128
    # each program writes a part of dweight, which are summed: start no more programs than run at once
    rule = dict(block, num_warps=8, num_stages=3, programs=2)
    return tiles.choose(rule, chip, 'norm_relu_matmul_backward', rows, columns, channels, size, aligned >= 8)


def _fused(features, scale, shift, mean, weight, grad, coefficient, accumulator, overwrite):
    (rows, c), j = features.shape, weight.shape[0]
    strides = [matrix.stride(0) for matrix in (features, weight, accumulator)]
    aligned = unit(c, *strides)
    block = dict(fused_blocks(rows, j, c, features.element_size(), aligned, tiles.chip(features.device)))
    column_blocks = cdiv(c, block['BLOCK_C'])
    limit = max(1, block.pop('programs') * sm_count(features.device) // column_blocks)
    programs, steps = split_rows(rows, block['BLOCK_M'], limit)
    partial = torch.empty(programs, j + 2, c, dtype=torch.float32, device=features.device)
    launch(
        norm_relu_matmul_backward_kernel, (column_blocks, programs),
        features, scale, shift, mean, weight, grad, coefficient, accumulator, partial,
        rows, c, j, features.stride(0), weight.stride(0), grad.stride(0), accumulator.stride(0), steps,
        OVERWRITE=overwrite, UNIT=aligned, COLUMN_UNIT=unit(j, grad.stride(0)), **block,
    )  # fmt: skip
    sums = sum_partials(partial)
    return sums[:j], sums[j], sums[j + 1]


@triton.jit(do_not_specialize=['rows', 'tiles_per_program'])
def norm_relu_matmul_backward_kernel(
    x_ptr,  # (M, C), stride (x_stride, 1), bf16 or fp16
    scale_ptr,  # (C,) fp32
    shift_ptr,  # (C,) fp32
    mean_ptr,  # (C,) fp32
    weight_ptr,  # (J, C), stride (weight_stride, 1), dtype of x
    grad_ptr,  # (M, J), stride (grad_stride, 1), dtype of x
    coefficient_ptr,  # (C,) fp32
    accumulator_ptr,  # (M, C), stride (accumulator_stride, 1), dtype of x, read and written
    partial_ptr,  # (P, J + 2, C) fp32, contiguous, written: dweight, sum(dz), sum(dz * (x - mean)) of a program's rows
    rows,
    channels,
    columns,  # J
    x_stride,
    weight_stride,
    grad_stride,
    accumulator_stride,
    tiles_per_program,
    OVERWRITE: tl.constexpr,
    UNIT: tl.constexpr,
    COLUMN_UNIT: tl.constexpr,
    FIRST: tl.constexpr,  # FIRST + SECOND columns, two powers of two, cover J; SECOND may be 0
    SECOND: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    channels = multiple_of(channels, UNIT)
    x_stride = multiple_of(x_stride, UNIT)
    weight_stride = multiple_of(weight_stride, UNIT)
    accumulator_stride = multiple_of(accumulator_stride, UNIT)
    columns = multiple_of(columns, COLUMN_UNIT)
    grad_stride = multiple_of(grad_stride, COLUMN_UNIT)
    # blocks of channels vary fastest: programs that read the same rows of g run at the same time
    program = tl.program_id(1)
    c = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    inside = c < channels
    scale = tl.load(scale_ptr + c, mask=inside, other=0.0)
    shift = tl.load(shift_ptr + c, mask=inside, other=0.0)
    mean = tl.load(mean_ptr + c, mask=inside, other=0.0)
    coefficient = tl.load(coefficient_ptr + c, mask=inside, other=0.0)
    j1 = tl.arange(0, FIRST)
    w1 = tl.load(
        weight_ptr + j1[:, None] * weight_stride + c[None, :],
        mask=(j1 < columns)[:, None] & inside[None, :],
        other=0.0,
    )
    grad_weight1 = tl.zeros((FIRST, BLOCK_C), tl.float32)
    if SECOND > 0:
        j2 = FIRST + tl.arange(0, SECOND)
        w2 = tl.load(
            weight_ptr + j2[:, None] * weight_stride + c[None, :],
            mask=(j2 < columns)[:, None] & inside[None, :],
            other=0.0,
        )
        grad_weight2 = tl.zeros((SECOND, BLOCK_C), tl.float32)
    total = tl.zeros((BLOCK_C,), tl.float32)
    total_centred = tl.zeros((BLOCK_C,), tl.float32)
    first = program * tiles_per_program * BLOCK_M
    stop = tl.minimum(rows, first + tiles_per_program * BLOCK_M)
    for start in range(first, stop, BLOCK_M):
        m = start + tl.arange(0, BLOCK_M)
        present = (m < rows)[:, None] & inside[None, :]
        m_long = m.to(tl.int64)[:, None]
        x = tl.load(x_ptr + m_long * x_stride + c[None, :], mask=present, other=0.0).to(tl.float32)
        g1 = load_grad(grad_ptr, m, j1, rows, columns, grad_stride)
        dz = tl.dot(g1, w1)
        if SECOND > 0:
            g2 = load_grad(grad_ptr, m, j2, rows, columns, grad_stride)
            dz = tl.dot(g2, w2, dz)
        affine = x * scale[None, :] + shift[None, :]
        dz = tl.where(affine <= 0, 0.0, dz)
        total += tl.sum(dz, 0)
        total_centred += tl.sum(dz * (x - mean[None, :]), 0)
        pointers = accumulator_ptr + m_long * accumulator_stride + c[None, :]
        accumulate(pointers, coefficient[None, :] * dz, present, OVERWRITE)
        z = relu(affine).to(x_ptr.dtype.element_ty)
        grad_weight1 = tl.dot(tl.trans(g1), z, grad_weight1)
        if SECOND > 0:
            grad_weight2 = tl.dot(tl.trans(g2), z, grad_weight2)
    partial_ptr += program * (columns + 2) * channels
    partial1 = partial_ptr + j1[:, None] * channels + c[None, :]
    tl.store(partial1, grad_weight1, mask=(j1 < columns)[:, None] & inside[None, :])
    if SECOND > 0:
        partial2 = partial_ptr + j2[:, None] * channels + c[None, :]
        tl.store(partial2, grad_weight2, mask=(j2 < columns)[:, None] & inside[None, :])
    tl.store(partial_ptr + columns * channels + c, total, mask=inside)
    tl.store(partial_ptr + (columns + 1) * channels + c, total_centred, mask=inside)
