"""BN-ReLU-1x1 as a matrix product: out = act @ weight.t() with act = relu(features * scale + shift), never stored.

A program computes all columns of the result (up to 256, in float32 128) for a tile of rows, so it reads the wide
features once. It forms the activation while it loads them, and computes the statistics of its result for the next norm.
With POOL the activation is the mean of 2x2 pixels: a transition may pool first, because its 1x1 convolution and average
pooling are both linear.

Traffic: M * C read once, M * J written. Limits: channels contiguous, fp32, bf16 or fp16, fewer than 2^31 rows.
"""

import torch
import triton
import triton.language as tl

from . import tiles
from .common import (
    cdiv,
    launch,
    merge_statistics,
    multiple_of,
    precision,
    relu,
    row_major,
    sm_count,
    split_columns,
    store_statistics,
    tile_statistics,
    unit,
)


def norm_relu_matmul(features, scale, shift, weight, measure=True):
    """The affine map and all sums are fp32; the activation and the weight are rounded to the features' dtype."""
    return _matmul(features, scale, shift, weight, None, measure)


def norm_relu_pool_matmul(features, scale, shift, weight, shape):
    return _matmul(features, scale, shift, weight, shape, False)


def pooled_rows(shape: tuple[int, int, int]) -> int:
    """Rows after 2x2 pooling of (N, H, W)."""
    n, height, width = shape
    if height < 2 or width < 2:
        raise ValueError(f'images of {height}x{width} cannot be pooled 2x2')
    return n * (height // 2) * (width // 2)


def _matmul(features, scale, shift, weight, shape, measure):
    features = row_major(features)
    dtype, c, j = features.dtype, features.shape[1], weight.shape[0]
    weight = row_major(weight.to(dtype))
    rows = features.shape[0] if shape is None else pooled_rows(shape)
    out = features.new_empty(rows, j)
    strides = features.stride(0), weight.stride(0)
    aligned = unit(c, *strides)
    device = features.device
    blocks, block = matmul_blocks(rows, j, c, dtype, aligned, sm_count(device), shape is not None, tiles.chip(device))
    row_blocks = cdiv(rows, block['BLOCK_M'])
    partial = torch.empty(row_blocks, 2, j, dtype=torch.float32, device=features.device)
    launch(
        norm_relu_matmul_kernel, (blocks * row_blocks,),
        features, scale, shift, weight, out, partial,
        rows, c, j, *((1, 1) if shape is None else shape[1:]), *strides, blocks,
        POOL=shape is not None, UNIT=aligned, COLUMN_UNIT=unit(j), PRECISION=precision(dtype), **block,
    )  # fmt: skip
    return out, *(merge_statistics(partial, rows, block['BLOCK_M']) if measure else (None, None))


@tiles.cached
def matmul_blocks(
    rows: int, columns: int, channels: int, dtype: torch.dtype, aligned: int, sms: int, pool: bool, chip: str
) -> tuple[int, dict[str, int]]:
    """Blocks of columns, and the tile of a program. Rows of the features start at multiples of ``aligned`` elements."""
    if dtype == torch.float32:
        # without tensor cores the operands of a product sit in registers
        widest, block_m, block_c, stages = 128, 64, 16, 2
    else:
        widest, block_m, block_c, stages = 256, 128, 32, 4
    blocks = cdiv(columns, widest)
    first, second = split_columns(cdiv(columns, blocks))
    if pool:
        # the four pixels of a pooled one are four tiles
        block_m, stages = 64, 2
    # enough programs for every processor, if there are enough rows
    while block_m > (64 if first == 256 else 32) and cdiv(rows, block_m) * blocks < sms:
        block_m //= 2
    # two programs at a time on each processor
    limited = dtype != torch.float32 and (first, second) == (128, 0) and aligned >= 8
    if limited and chip.startswith('10.'):
        # for compute capability 10.0 a thread of any other tile spills 40 bytes and more
        block_m = min(block_m, 64)
        limited = block_m == 64
    wide = block_m * first >= 8192 or second > 0
    if chip.startswith('10.') and dtype == torch.float32 and (first, second) == (64, 16):
        wide = False  # with eight warps a thread spills 32 bytes
    block = dict(FIRST=first, SECOND=second, BLOCK_M=block_m, BLOCK_C=block_c, num_stages=stages)
    if limited:
        block['maxnreg'] = 128
    rule = dict(block, num_warps=8 if wide else 4)
    kernel = 'norm_relu_pool_matmul' if pool else 'norm_relu_matmul'
    return blocks, tiles.choose(rule, chip, kernel, rows, columns, channels, dtype.itemsize, aligned >= 8)


@triton.jit
def input_rows(m, height, width, POOL: tl.constexpr):
    """The row of a pixel's features; with POOL of the first of the 2x2 that the m-th pooled pixel covers."""
    if POOL:
        low_width = width // 2
        low_height = height // 2
        image = m // (low_height * low_width)
        h = m // low_width % low_height
        return (image * height + 2 * h) * width + 2 * (m % low_width)
    else:
        return m


@triton.jit
def load_activation(pointers, present, scale, shift, x_stride, width, POOL: tl.constexpr):
    """relu(x * scale + shift) in fp32, with POOL averaged over 2x2 pixels."""
    x = tl.load(pointers, mask=present, other=0.0).to(tl.float32)
    z = relu(x * scale[None, :] + shift[None, :])
    if POOL:
        for corner in tl.static_range(1, 4):
            step = (corner // 2 * width + corner % 2).to(tl.int64) * x_stride
            x = tl.load(pointers + step, mask=present, other=0.0).to(tl.float32)
            z += relu(x * scale[None, :] + shift[None, :])
        z *= 0.25
    return z


@triton.jit
def load_weight(weight_ptr, weight_stride, c, j, channels, columns):
    """A tile (channels, columns) of the transposed weight."""
    present = (c < channels)[:, None] & (j < columns)[None, :]
    return tl.load(weight_ptr + j[None, :] * weight_stride + c[:, None], mask=present, other=0.0)


@triton.jit
def store_part(acc, out_ptr, partial_ptr, tile, m, j, rows, columns, size):
    """Store a tile of the result, and the statistics of what was stored."""
    value = acc.to(out_ptr.dtype.element_ty)
    present = (m < rows)[:, None] & (j < columns)[None, :]
    tl.store(out_ptr + m.to(tl.int64)[:, None] * columns + j[None, :], value, mask=present)
    mean, variance = tile_statistics(value.to(tl.float32), present, size)
    store_statistics(partial_ptr, tile, columns, j, mean, variance)


@triton.jit(do_not_specialize=['rows', 'height', 'width', 'column_blocks'])
def norm_relu_matmul_kernel(
    x_ptr,  # (M, C), or (N*H*W, C) with POOL, stride (x_stride, 1)
    scale_ptr,  # (C,) fp32
    shift_ptr,  # (C,) fp32
    weight_ptr,  # (J, C), stride (weight_stride, 1), dtype of x
    out_ptr,  # (M, J), contiguous, dtype of x, written
    partial_ptr,  # (P, 2, J) fp32, contiguous, written: mean and biased variance of each tile's rows
    rows,  # M, of the result
    channels,
    columns,  # J
    height,  # of the images before pooling
    width,
    x_stride,
    weight_stride,
    column_blocks,
    POOL: tl.constexpr,
    UNIT: tl.constexpr,
    COLUMN_UNIT: tl.constexpr,
    PRECISION: tl.constexpr,
    FIRST: tl.constexpr,  # columns of a program: FIRST + SECOND, two powers of two, SECOND possibly 0
    SECOND: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    channels = multiple_of(channels, UNIT)
    x_stride = multiple_of(x_stride, UNIT)
    weight_stride = multiple_of(weight_stride, UNIT)
    columns = multiple_of(columns, COLUMN_UNIT)
    # blocks of columns vary fastest: programs that read the same rows run at the same time
    tile = tl.program_id(0) // column_blocks
    m = tile * BLOCK_M + tl.arange(0, BLOCK_M)
    k = tl.arange(0, BLOCK_C)
    j1 = tl.program_id(0) % column_blocks * (FIRST + SECOND) + tl.arange(0, FIRST)
    acc1 = tl.zeros((BLOCK_M, FIRST), tl.float32)
    if SECOND > 0:
        j2 = tl.program_id(0) % column_blocks * (FIRST + SECOND) + FIRST + tl.arange(0, SECOND)
        acc2 = tl.zeros((BLOCK_M, SECOND), tl.float32)
    x_rows = x_ptr + input_rows(m, height, width, POOL).to(tl.int64)[:, None] * x_stride
    for channel in range(0, channels, BLOCK_C):
        c = channel + k
        inside = c < channels
        scale = tl.load(scale_ptr + c, mask=inside, other=0.0)
        shift = tl.load(shift_ptr + c, mask=inside, other=0.0)
        present = (m < rows)[:, None] & inside[None, :]
        z = load_activation(x_rows + c[None, :], present, scale, shift, x_stride, width, POOL)
        z = z.to(x_ptr.dtype.element_ty)
        w1 = load_weight(weight_ptr, weight_stride, c, j1, channels, columns)
        acc1 = tl.dot(z, w1, acc1, input_precision=PRECISION)
        if SECOND > 0:
            w2 = load_weight(weight_ptr, weight_stride, c, j2, channels, columns)
            acc2 = tl.dot(z, w2, acc2, input_precision=PRECISION)
    size = tl.minimum(rows - tile * BLOCK_M, BLOCK_M).to(tl.float32)
    store_part(acc1, out_ptr, partial_ptr, tile, m, j1, rows, columns, size)
    if SECOND > 0:
        store_part(acc2, out_ptr, partial_ptr, tile, m, j2, rows, columns, size)
