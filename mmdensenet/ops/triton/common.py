"""What the kernels share: launching, block sizes, sums and statistics in a fixed order.

No kernel adds with atomics. A program walks over consecutive tiles of rows and writes its sums, or its mean and sum of
squared deviations, into a row of a small float32 matrix, which one more kernel reduces in a fixed order. Two runs give the
same bits on the same device; another device has another number of programs, and may round differently.
"""

import functools
import math

import torch
import triton
import triton.language as tl
from torch import Tensor


def launch(kernel, grid: tuple[int, ...], *args, **meta) -> None:
    """Run a kernel on its first tensor's device, which need not be the current one."""
    device = args[0].device
    if device.type == 'cuda' and device.index != torch.cuda.current_device():
        with torch.cuda.device(device):
            kernel[grid](*args, **meta)
    else:
        kernel[grid](*args, **meta)


@functools.lru_cache
def processors(device: torch.device) -> int:
    """Streaming multiprocessors; in the interpreter two, so that a program has several tiles and there are several."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == 'cuda' else 2


def split_rows(rows: int, block: int, programs: int) -> tuple[int, int]:
    """How many programs share the tiles of ``block`` rows, at most ``programs``, and the tiles of each."""
    tiles = triton.cdiv(rows, block)
    each = triton.cdiv(tiles, max(1, min(tiles, programs)))
    return triton.cdiv(tiles, each), each


def split_columns(columns: int) -> tuple[int, int]:
    """``columns`` as one or two powers of two (the second may be 0), each at least 16, with little left over.

    A tile's sides are powers of two, and the bottleneck's widths (48, 96, 160, 192) mostly are not.
    """
    first = max(16, 1 << (columns.bit_length() - 1))
    if columns <= first:
        return first, 0
    second = max(16, triton.next_power_of_2(columns - first))
    return (first, second) if second < first else (2 * first, 0)


def unit(*sizes: int) -> int:
    """The largest power of two up to 16 that divides all sizes.

    The compiler only finds out whether an argument is a multiple of 16, and loads element by element if it is not. With
    growth rates such as 12 and 40 strides are multiples of 4 or 8, which is enough for wide loads: kernels are told.
    """
    return math.gcd(16, *sizes)


def row_major(rows: Tensor) -> Tensor:
    """The matrix itself if its channels are contiguous, else a copy that is."""
    return rows if rows.stride(1) == 1 else rows.contiguous()


def precision(dtype: torch.dtype) -> str:
    """Of float32 products: TensorFloat32 where the user allows it. Narrower products are exact, their sums float32."""
    return 'tf32' if dtype == torch.float32 and torch.backends.cuda.matmul.allow_tf32 else 'ieee'


def merge_statistics(partial: Tensor, rows: int, rows_per_program: int) -> tuple[Tensor, Tensor]:
    """Mean and biased variance, each (C,), from each program's mean and squared deviations, (P, 2, C)."""
    programs, _, columns = partial.shape
    merged = partial.new_empty(2, columns)
    launch(
        merge_statistics_kernel,
        (triton.cdiv(columns, 16),),
        partial,
        merged,
        rows,
        rows_per_program,
        programs,
        columns,
        BLOCK_P=min(256, triton.next_power_of_2(programs)),
        BLOCK_C=16,
        num_warps=4,
    )
    return merged[0], merged[1]


def sum_partials(partial: Tensor) -> Tensor:
    """The sum over the first dimension, (P, ...) to (...), float32."""
    programs, size = partial.shape[0], partial[0].numel()
    out = partial.new_empty(partial.shape[1:])
    # few columns: more rows at a time, for a program waits for memory once per step
    block_p, block_c = (256, 16) if size <= 8192 else (32, 128)
    launch(
        sum_partials_kernel,
        (triton.cdiv(size, block_c),),
        partial,
        out,
        programs,
        size,
        BLOCK_P=min(block_p, triton.next_power_of_2(programs)),
        BLOCK_C=block_c,
        num_warps=4,
    )
    return out


@triton.jit(do_not_specialize=['rows', 'rows_per_program', 'programs'])
def merge_statistics_kernel(
    partial_ptr,  # (P, 2, C) fp32, contiguous: mean and sum of squared deviations of each program's rows
    out_ptr,  # (2, C) fp32: mean and biased variance of all rows
    rows,
    rows_per_program,  # the last program has fewer
    programs,
    columns,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    c = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    inside = c < columns
    # Chan et al. (1979), around the first program's mean: sums of large means would lose digits.
    pivot = tl.load(partial_ptr + c, mask=inside, other=0.0)
    total = tl.zeros((BLOCK_P, BLOCK_C), tl.float32)
    for start in range(0, programs, BLOCK_P):
        p = start + tl.arange(0, BLOCK_P)
        present = (p < programs)[:, None] & inside[None, :]
        count = tl.maximum(tl.minimum(rows - p * rows_per_program, rows_per_program), 0).to(tl.float32)
        mean = tl.load(partial_ptr + p[:, None] * 2 * columns + c[None, :], mask=present, other=0.0)
        total += tl.where(present, count[:, None] * (mean - pivot[None, :]), 0.0)
    mean_of_all = pivot + tl.sum(total, 0) / rows
    total = tl.zeros((BLOCK_P, BLOCK_C), tl.float32)
    for start in range(0, programs, BLOCK_P):
        p = start + tl.arange(0, BLOCK_P)
        present = (p < programs)[:, None] & inside[None, :]
        count = tl.maximum(tl.minimum(rows - p * rows_per_program, rows_per_program), 0).to(tl.float32)
        pointers = partial_ptr + p[:, None] * 2 * columns + c[None, :]
        difference = tl.load(pointers, mask=present, other=0.0) - mean_of_all[None, :]
        deviations = tl.load(pointers + columns, mask=present, other=0.0)
        total += tl.where(present, deviations + count[:, None] * difference * difference, 0.0)
    tl.store(out_ptr + c, mean_of_all, mask=inside)
    tl.store(out_ptr + columns + c, tl.sum(total, 0) / rows, mask=inside)


@triton.jit(do_not_specialize=['programs'])
def sum_partials_kernel(
    partial_ptr,  # (P, size) fp32, contiguous
    out_ptr,  # (size,) fp32
    programs,
    size,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    c = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    total = tl.zeros((BLOCK_P, BLOCK_C), tl.float32)
    for start in range(0, programs, BLOCK_P):
        p = start + tl.arange(0, BLOCK_P)
        present = (p < programs)[:, None] & (c < size)[None, :]
        total += tl.load(partial_ptr + p.to(tl.int64)[:, None] * size + c[None, :], mask=present, other=0.0)
    tl.store(out_ptr + c, tl.sum(total, 0), mask=c < size)


@triton.jit
def multiple_of(value, UNIT: tl.constexpr):
    """The value, of which the caller knows that UNIT divides it, in a form that tells the compiler."""
    return value // UNIT * UNIT


@triton.jit
def relu(value):
    """As torch's, NaN stays NaN."""
    return tl.where(value <= 0, 0.0, value)


@triton.jit
def merge_tile(count, mean, deviations, tile, present, size):
    """Statistics of ``count`` rows and of the tile's ``size`` rows that are present, together (Chan et al., 1979)."""
    tile_mean = tl.sum(tl.where(present, tile, 0.0), 0) / size
    centred = tl.where(present, tile - tile_mean[None, :], 0.0)
    difference = tile_mean - mean
    weight = size / (count + size)
    deviations += tl.sum(centred * centred, 0) + difference * difference * (count * weight)
    return mean + difference * weight, deviations


@triton.jit
def store_statistics(partial_ptr, program, columns, c, mean, deviations):
    """One program's row of the (P, 2, C) matrix that ``merge_statistics`` reads."""
    tl.store(partial_ptr + program * 2 * columns + c, mean, mask=c < columns)
    tl.store(partial_ptr + (program * 2 + 1) * columns + c, deviations, mask=c < columns)
