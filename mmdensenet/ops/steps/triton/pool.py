"""BN-ReLU-max pooling of the stem: 3x3 windows, stride 2, padding 1 with -inf, on u = relu(rows * scale + shift).

Forward reads each pixel from memory once, and from the cache for its other windows. Backward computes the maxima again
and stores no indices. A group of four pixels, (2i, 2j) to (2i+1, 2j+1), lies only in the windows (i, j) to (i+1, j+1),
which cover 5x5 pixels. So a program that reads these once knows the whole gradient of its groups; it writes each pixel
once, and no two programs add to the same element.

The maximum is taken of u rounded to the rows' dtype. Of equal maxima the first in the window's order gets the gradient,
and of NaNs the last, as in torch.

Limits: channels contiguous, fp32, bf16 or fp16, fewer than 2^31 rows.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .common import (
    cdiv,
    launch,
    multiple_of,
    next_power_of_2,
    relu,
    row_major,
    sm_count,
    split_rows,
    sum_partials,
    unit,
)

#: bytes of a tile: with 4 warps a thread has one load of 16 bytes for each pixel of a window
TILE_BYTES = 2048
#: programs of backward per streaming multiprocessor, each with its own sums
PROGRAMS = 16


def norm_relu_max_pool(rows, scale, shift, shape):
    rows = row_major(rows)
    windows, c = _windows(shape), rows.shape[1]
    out = rows.new_empty(windows, c)
    block = _block(rows)
    launch(
        norm_relu_max_pool_kernel, (cdiv(windows, block['BLOCK_M']) * cdiv(c, block['BLOCK_C']),),
        rows, scale, shift, out,
        windows, shape[1], shape[2], c, rows.stride(0),
        UNIT=unit(c, rows.stride(0)), **block,
    )  # fmt: skip
    return out


def norm_relu_max_pool_backward(rows, scale, shift, mean, shape, grad):
    rows, grad = row_major(rows), row_major(grad)
    groups, c = _windows(shape), rows.shape[1]
    dz = torch.empty_like(rows, memory_format=torch.contiguous_format)
    block = _block(rows)
    column_blocks = cdiv(c, block['BLOCK_C'])
    limit = max(1, PROGRAMS * sm_count(rows.device) // column_blocks)
    programs, tiles = split_rows(groups, block['BLOCK_M'], limit)
    partial = torch.empty(programs, 2, c, dtype=torch.float32, device=rows.device)
    strides = rows.stride(0), grad.stride(0)
    launch(
        norm_relu_max_pool_backward_kernel, (column_blocks, programs),
        rows, scale, shift, mean, grad, dz, partial,
        groups, shape[1], shape[2], c, *strides, tiles,
        UNIT=unit(c, *strides), **block,
    )  # fmt: skip
    sums = sum_partials(partial)
    return dz, sums[0], sums[1]


def _windows(shape: tuple[int, int, int]) -> int:
    """The number of windows, which is that of 2x2 groups of pixels; groups at an odd edge are smaller."""
    n, h, w = shape
    return n * ((h + 1) // 2) * ((w + 1) // 2)


def _block(rows: Tensor) -> dict[str, int]:
    width = max(16, min(64, next_power_of_2(rows.shape[1])))
    return dict(BLOCK_M=TILE_BYTES // (width * rows.element_size()), BLOCK_C=width, num_warps=4)


@triton.jit
def window_at(m, height, width):
    """Row and column (i, j) of window or group ``m`` in its image, and the matrix's row of the image's first pixel."""
    across = (width + 1) // 2
    down = (height + 1) // 2
    line = m // across
    return line % down, m % across, line // down * height * width


@triton.jit(do_not_specialize=['windows', 'height', 'width'])
def norm_relu_max_pool_kernel(
    x_ptr,  # (M, C), M = N*H*W, stride (x_stride, 1)
    scale_ptr,  # (C,) fp32
    shift_ptr,  # (C,) fp32
    out_ptr,  # (windows, C), contiguous, written
    windows,
    height,
    width,
    columns,
    x_stride,
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
    inside = c < columns
    present = m < windows
    i, j, image = window_at(m, height, width)
    scale = tl.load(scale_ptr + c, mask=inside, other=0.0)[None, :]
    shift = tl.load(shift_ptr + c, mask=inside, other=0.0)[None, :]
    best = tl.full((BLOCK_M, BLOCK_C), -float('inf'), tl.float32)
    for dh in tl.static_range(-1, 2):
        for dw in tl.static_range(-1, 2):
            # instead of padding, the window's nearest pixel once more
            h = tl.minimum(tl.maximum(2 * i + dh, 0), height - 1)
            w = tl.minimum(tl.maximum(2 * j + dw, 0), width - 1)
            row = (image + h * width + w).to(tl.int64)[:, None]
            x = tl.load(x_ptr + row * x_stride + c[None, :], mask=present[:, None] & inside[None, :], other=0.0)
            z = tl.fma(x.to(tl.float32), scale, shift)
            best = tl.maximum(best, z, propagate_nan=tl.PropagateNan.ALL)
    # neither ReLU nor rounding changes which is larger, so they come once, behind the maximum
    out = relu(best).to(out_ptr.dtype.element_ty)
    pointers = out_ptr + m.to(tl.int64)[:, None] * columns + c[None, :]
    tl.store(pointers, out, mask=present[:, None] & inside[None, :])


@triton.jit(do_not_specialize=['groups', 'height', 'width', 'tiles_per_program'])
def norm_relu_max_pool_backward_kernel(
    x_ptr,  # (M, C), M = N*H*W, stride (x_stride, 1)
    scale_ptr,  # (C,) fp32, as the two that follow
    shift_ptr,
    mean_ptr,
    grad_ptr,  # (groups, C), stride (grad_stride, 1)
    dz_ptr,  # (M, C), contiguous, dtype of x, written
    partial_ptr,  # (P, 2, C) fp32, contiguous, written: sums of dz and of dz * (x - mean)
    groups,  # of 2x2 pixels, as many as windows
    height,
    width,
    columns,
    x_stride,
    grad_stride,
    tiles_per_program,
    UNIT: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    columns = multiple_of(columns, UNIT)
    x_stride = multiple_of(x_stride, UNIT)
    grad_stride = multiple_of(grad_stride, UNIT)
    program = tl.program_id(1)
    c = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    inside = c < columns
    scale = tl.load(scale_ptr + c, mask=inside, other=0.0)[None, :]
    shift = tl.load(shift_ptr + c, mask=inside, other=0.0)[None, :]
    total = tl.zeros((BLOCK_M, BLOCK_C), tl.float32)
    total_centred = tl.zeros((BLOCK_M, BLOCK_C), tl.float32)
    # A pixel's key: the bits of z as fp32, which as integers put positive numbers and NaNs in the order of the maximum.
    # Behind them, in bits that 16-bit types leave free, is 31 - tap, for the first of equal numbers is taken; or the
    # tap, for the last NaN is. Maxima begin above the keys of 0 and less, which so are nobody's: the ReLU and its mask.
    narrow: tl.constexpr = x_ptr.dtype.element_ty.primitive_bitwidth == 16
    key_type: tl.constexpr = tl.int32 if narrow else tl.int64
    space: tl.constexpr = 1 if narrow else 32
    nan: tl.constexpr = 0x7FFF0000 if narrow else 0x7FFFFFFF * 32
    first = program * tiles_per_program * BLOCK_M
    stop = tl.minimum(groups, first + tiles_per_program * BLOCK_M)
    for start in range(first, stop, BLOCK_M):
        m = start + tl.arange(0, BLOCK_M)
        i, j, image = window_at(m, height, width)
        present = (m < groups)[:, None] & inside[None, :]
        best00 = tl.full((BLOCK_M, BLOCK_C), 31, key_type)
        best01, best10, best11 = best00, best00, best00
        # windows (i, j) to (i+1, j+1) have the pixels 2i-1 to 2i+3, 2j-1 to 2j+3
        for dh in tl.static_range(-1, 4):
            for dw in tl.static_range(-1, 4):
                # instead of padding, the window's nearest pixel once more, with the same key
                h = tl.minimum(tl.maximum(2 * i + dh, 0), height - 1)
                w = tl.minimum(tl.maximum(2 * j + dw, 0), width - 1)
                tap = (5 * (h - 2 * i) + (w - 2 * j) + 7)[:, None].to(key_type)
                row = (image + h * width + w).to(tl.int64)[:, None]
                x = tl.load(x_ptr + row * x_stride + c[None, :], mask=present, other=0.0).to(tl.float32)
                # fused by name: all groups that see a window must find the same maximum in it
                z = tl.fma(x, scale, shift)
                rounded = z.to(x_ptr.dtype.element_ty).to(tl.float32)
                key = rounded.to(tl.int32, bitcast=True).to(key_type) * space + (31 - tap)
                key = tl.where(z != z, nan + tap, key)
                if dh <= 1 and dw <= 1:
                    best00 = tl.maximum(best00, key)
                if dh <= 1 and dw >= 1:
                    best01 = tl.maximum(best01, key)
                if dh >= 1 and dw <= 1:
                    best10 = tl.maximum(best10, key)
                if dh >= 1 and dw >= 1:
                    best11 = tl.maximum(best11, key)
                if dh == 0 and dw == 0:
                    key00 = key
                if dh == 0 and dw == 1:
                    key01 = key
                if dh == 1 and dw == 0:
                    key10 = key
                if dh == 1 and dw == 1:
                    key11 = key
        across = (width + 1) // 2
        right = (j + 1 < across)[:, None]
        below = (i + 1 < (height + 1) // 2)[:, None]
        grads = grad_ptr + m.to(tl.int64)[:, None] * grad_stride + c[None, :]
        down = grads + across.to(tl.int64) * grad_stride
        grad00 = tl.load(grads, mask=present, other=0.0)
        grad01 = tl.load(grads + grad_stride, mask=present & right, other=0.0)
        grad10 = tl.load(down, mask=present & below, other=0.0)
        grad11 = tl.load(down + grad_stride, mask=present & right & below, other=0.0)
        # here, for before it would take registers
        mean = tl.load(mean_ptr + c, mask=inside, other=0.0)[None, :]
        for dh in tl.static_range(2):
            for dw in tl.static_range(2):
                own = key00 if dw == 0 else key01
                if dh == 1:
                    own = key10 if dw == 0 else key11
                dz = tl.where(best00 == own, grad00, 0.0).to(tl.float32)
                if dw == 1:
                    dz += tl.where(best01 == own, grad01, 0.0).to(tl.float32)
                if dh == 1:
                    dz += tl.where(best10 == own, grad10, 0.0).to(tl.float32)
                if dh == 1 and dw == 1:
                    dz += tl.where(best11 == own, grad11, 0.0).to(tl.float32)
                valid = present & (2 * i + dh < height)[:, None] & (2 * j + dw < width)[:, None]
                row = (image + (2 * i + dh) * width + 2 * j + dw).to(tl.int64)[:, None]
                x = tl.load(x_ptr + row * x_stride + c[None, :], mask=valid, other=0.0).to(tl.float32)
                dz = tl.where(valid, dz, 0.0).to(dz_ptr.dtype.element_ty)
                tl.store(dz_ptr + row * columns + c[None, :], dz, mask=valid)
                total += dz.to(tl.float32)
                total_centred += dz.to(tl.float32) * (x - mean)
    tl.store(partial_ptr + program * 2 * columns + c, tl.sum(total, 0), mask=inside)
    tl.store(partial_ptr + (program * 2 + 1) * columns + c, tl.sum(total_centred, 0), mask=inside)
