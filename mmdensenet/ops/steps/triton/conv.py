"""BN-ReLU-3x3: u = relu(rows * scale + shift), then the convolution with padding 1, which pads u with zeros.

Forward has two ways to the same result:

- An implicit matrix product: for each of the nine taps a program loads the shifted pixels, activates them and
  multiplies. It never stores u, the nine loads of a pixel mostly hit the cache, and the epilogue computes the
  statistics.
- One kernel that writes u, cuDNN's convolution, and another kernel that copies its result and computes the statistics.

Backward writes u again, calls cuDNN, and launches one kernel that applies the ReLU's mask and sums. cuDNN follows its
own switches: torch.backends.cudnn.allow_tf32 for float32, and .deterministic for the same bits in every run.

Limits: channels contiguous, fp32, bf16 or fp16, stride 1, padding 1, fewer than 2^31 rows.
"""

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

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
from .norm import copy_with_statistics, norm_relu
from .norm_backward import masked_sums

#: whether forward is the implicit product; None chooses the faster way
IMPLICIT: bool | None = None


def norm_relu_conv3x3(rows, scale, shift, weight, shape, out, mask=None, measure=True):
    rows = row_major(rows)
    implicit = IMPLICIT
    if implicit is None:
        (m, j), k = rows.shape, len(weight)
        aligned, chip = unit(j, rows.stride(0)), tiles.chip(rows.device)
        implicit = is_implicit(m, k, j, rows.dtype, aligned, precision(rows.dtype), chip)
    if implicit:
        return _implicit(rows, scale, shift, weight, shape, out, mask, measure)
    # autocast has already chosen the features' dtype
    with torch.autocast('cuda' if rows.is_cuda else 'cpu', enabled=False):
        new = F.conv2d(_images(norm_relu(rows, scale, shift), shape), weight.to(rows.dtype), padding=1)
    return copy_with_statistics(new.permute(0, 2, 3, 1).flatten(0, 2), out, mask)


def norm_relu_conv3x3_backward(rows, scale, shift, mean, weight, shape, grad):
    rows = row_major(rows)
    grad_u, grad_weight, _ = torch.ops.aten.convolution_backward(
        _images(grad.contiguous(), shape), _images(norm_relu(rows, scale, shift), shape), weight.to(rows.dtype),
        None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, [True, True, False],
    )  # fmt: skip
    grad_z = grad_u.permute(0, 2, 3, 1).flatten(0, 2).contiguous()
    return grad_z, grad_weight.to(weight.dtype), *masked_sums(grad_z, rows, scale, shift, mean)


def norm_relu_conv3x3_backward_into(
    rows, scale, shift, mean, weight, shape, grad, coefficient, accumulator, overwrite=False
):
    grad_z, *rest = norm_relu_conv3x3_backward(rows, scale, shift, mean, weight, shape, grad)
    if overwrite:
        torch.mul(grad_z, coefficient, out=accumulator)
    else:
        accumulator.add_(grad_z * coefficient)
    return tuple(rest)


@tiles.cached
def is_implicit(
    rows: int, columns: int, channels: int, dtype: torch.dtype, aligned: int, precision: str, chip: str
) -> bool:
    """Whether the implicit product is faster: as measured, or else if it runs on tensor cores."""
    if way := tiles.measured(chip, 'conv3x3_way', rows, columns, channels, dtype.itemsize, aligned >= 8):
        return bool(way['implicit'])
    return dtype.itemsize == 2 or precision == 'tf32'


@tiles.cached
def conv_blocks(
    rows: int, columns: int, channels: int, dtype: torch.dtype, aligned: int, sms: int, chip: str
) -> tuple[int, dict[str, int]]:
    """Blocks of columns, and the tile of a program. Rows start at multiples of ``aligned`` elements."""
    half = dtype.itemsize == 2
    blocks = cdiv(columns, 128 if half else 64)
    first, second = split_columns(cdiv(columns, blocks))
    block_c = 64 if half else 16
    while block_c > 16 and channels % block_c:
        block_c //= 2
    block_m = 128 if half else 64
    while block_m > 32 and cdiv(rows, block_m) * blocks < sms:
        block_m //= 2
    rule = dict(FIRST=first, SECOND=second, BLOCK_M=block_m, BLOCK_C=block_c, num_warps=4, num_stages=3 if half else 2)
    shape = rows, columns, channels, dtype.itemsize, aligned >= 8
    return blocks, tiles.choose(rule, chip, 'norm_relu_conv3x3', *shape)


def _images(rows: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """(M, C) rows as channels-last images (N, C, H, W), a view."""
    return rows.unflatten(0, shape).permute(0, 3, 1, 2)


def _implicit(rows, scale, shift, weight, shape, out, mask, measure):
    (m, j), k = rows.shape, weight.shape[0]
    aligned = unit(j, rows.stride(0))
    blocks, block = conv_blocks(m, k, j, rows.dtype, aligned, sm_count(rows.device), tiles.chip(rows.device))
    row_blocks = cdiv(m, block['BLOCK_M'])
    partial = torch.empty(row_blocks, 2, k, dtype=torch.float32, device=rows.device)
    taps = rows.new_empty(9, j, k).copy_(weight.permute(2, 3, 1, 0).flatten(0, 1))
    factors = out if mask is None else mask
    strides = factors.stride(0), out.stride(0)
    launch(
        norm_relu_conv3x3_kernel, (blocks * row_blocks,),
        rows, shift if scale is None else scale, shift, taps, factors, out, partial,
        m, shape[1], shape[2], j, k, rows.stride(0), *strides, blocks,
        SCALE=scale is not None, MASK=mask is not None, UNIT=aligned, COLUMN_UNIT=unit(k, *strides),
        PRECISION=precision(rows.dtype), STEPS=cdiv(j, block['BLOCK_C']), **block,
    )  # fmt: skip
    return merge_statistics(partial, m, block['BLOCK_M']) if measure else (None, None)


@triton.jit
def load_taps(weight_ptr, tap, c, j, channels, columns):
    """A tile (channels, columns) of one tap's matrix."""
    present = (c < channels)[:, None] & (j < columns)[None, :]
    return tl.load(weight_ptr + tap * channels * columns + c[:, None] * columns + j[None, :], mask=present, other=0.0)


@triton.jit
def store_part(
    acc, out_ptr, mask_ptr, partial_ptr, out_stride, mask_stride, tile, m, j, rows, columns, size, MASK: tl.constexpr
):
    """Apply dropout's factors, store a tile of the result, and the statistics of what was stored."""
    present = (m < rows)[:, None] & (j < columns)[None, :]
    m = m.to(tl.int64)[:, None]
    if MASK:
        acc *= tl.load(mask_ptr + m * mask_stride + j[None, :], mask=present, other=0.0)
    value = acc.to(out_ptr.dtype.element_ty)
    tl.store(out_ptr + m * out_stride + j[None, :], value, mask=present)
    mean, variance = tile_statistics(value.to(tl.float32), present, size)
    store_statistics(partial_ptr, tile, columns, j, mean, variance)


@triton.jit(do_not_specialize=['rows', 'height', 'width', 'column_blocks'])
def norm_relu_conv3x3_kernel(
    x_ptr,  # (M, J), M = N*H*W, stride (x_stride, 1)
    scale_ptr,  # (J,) fp32; read if SCALE
    shift_ptr,  # (J,) fp32
    weight_ptr,  # (9, J, k), contiguous, dtype of x: a matrix for each tap
    mask_ptr,  # (M, k), stride (mask_stride, 1); read if MASK
    out_ptr,  # (M, k), stride (out_stride, 1), dtype of x, written
    partial_ptr,  # (P, 2, k) fp32, contiguous, written: mean and biased variance of each tile's rows
    rows,
    height,
    width,
    channels,  # J
    columns,  # k
    x_stride,
    mask_stride,
    out_stride,
    column_blocks,
    SCALE: tl.constexpr,  # else the scale is 1
    MASK: tl.constexpr,
    UNIT: tl.constexpr,
    COLUMN_UNIT: tl.constexpr,
    PRECISION: tl.constexpr,
    STEPS: tl.constexpr,  # blocks of channels
    FIRST: tl.constexpr,  # columns of a program: FIRST + SECOND, two powers of two, SECOND possibly 0
    SECOND: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    channels = multiple_of(channels, UNIT)
    x_stride = multiple_of(x_stride, UNIT)
    columns = multiple_of(columns, COLUMN_UNIT)
    mask_stride = multiple_of(mask_stride, COLUMN_UNIT)
    out_stride = multiple_of(out_stride, COLUMN_UNIT)
    tile = tl.program_id(0) // column_blocks
    m = tile * BLOCK_M + tl.arange(0, BLOCK_M)
    h = m // width % height
    w = m % width
    k = tl.arange(0, BLOCK_C)
    j1 = tl.program_id(0) % column_blocks * (FIRST + SECOND) + tl.arange(0, FIRST)
    acc1 = tl.zeros((BLOCK_M, FIRST), tl.float32)
    if SECOND > 0:
        j2 = tl.program_id(0) % column_blocks * (FIRST + SECOND) + FIRST + tl.arange(0, SECOND)
        acc2 = tl.zeros((BLOCK_M, SECOND), tl.float32)
    for step in range(9 * STEPS):
        tap = step // STEPS
        dh = tap // 3 - 1
        dw = tap % 3 - 1
        c = step % STEPS * BLOCK_C + k
        inside = c < channels
        shift = tl.load(shift_ptr + c, mask=inside, other=0.0)
        pixel = (m < rows) & (h + dh >= 0) & (h + dh < height) & (w + dw >= 0) & (w + dw < width)
        present = pixel[:, None] & inside[None, :]
        neighbour = (m + (dh * width + dw)).to(tl.int64)[:, None]
        x = tl.load(x_ptr + neighbour * x_stride + c[None, :], mask=present, other=0.0).to(tl.float32)
        if SCALE:
            x *= tl.load(scale_ptr + c, mask=inside, other=0.0)[None, :]
        # the padding is zero after the activation, not before
        z = tl.where(pixel[:, None], relu(x + shift[None, :]), 0.0).to(x_ptr.dtype.element_ty)
        acc1 = tl.dot(z, load_taps(weight_ptr, tap, c, j1, channels, columns), acc1, input_precision=PRECISION)
        if SECOND > 0:
            acc2 = tl.dot(z, load_taps(weight_ptr, tap, c, j2, channels, columns), acc2, input_precision=PRECISION)
    size = tl.minimum(rows - tile * BLOCK_M, BLOCK_M).to(tl.float32)
    store_part(acc1, out_ptr, mask_ptr, partial_ptr, out_stride, mask_stride, tile, m, j1, rows, columns, size, MASK)
    if SECOND > 0:
        store_part(
            acc2, out_ptr, mask_ptr, partial_ptr, out_stride, mask_stride, tile, m, j2, rows, columns, size, MASK
        )
