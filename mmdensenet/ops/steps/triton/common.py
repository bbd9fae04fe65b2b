"""What the kernels share: launching, block sizes, sums and statistics in a fixed order.

No kernel adds with atomics. A program writes the sums of its rows, or their mean and variance, into a row of a small
float32 matrix, and another kernel reduces this matrix in a fixed order. Two runs on the same device give the same bits;
another device starts another number of programs and may round differently.
"""

import functools
import math

import torch
import triton
import triton.language as tl
from torch import Tensor


def launch(kernel, grid: tuple[int, ...], *args, **meta) -> None:
    """Run a kernel on its first tensor's device, which need not be the current one.

    Args:
        args: the kernel's run-time arguments.
        meta: its compile-time arguments, and options of the compiler.
    """
    device = args[0].device
    if device.type != 'cuda':
        kernel[grid](*args, **meta)
    elif device.index != torch._C._cuda_getDevice():
        with torch.cuda.device(device):
            _launch(kernel, grid, device.index, args, meta)
    else:
        _launch(kernel, grid, device.index, args, meta)


#: whether this release of Triton calls its compiled kernels as :func:`_launch` does
_DIRECT = triton.__version__.startswith(('3.6.', '3.7.'))
_COMPILED: dict[tuple, tuple] = {}


def _launch(kernel, grid: tuple[int, ...], device: int, args: tuple, meta: dict) -> None:
    """Do what ``kernel[grid](*args, **meta)`` does, in less CPU time once the kernel is compiled.

    A block launches 17 kernels a layer and step, so launch overhead decides how fast small batches are. Triton binds
    arguments by name, builds a key of strings and asks the driver about each pointer. This function builds its key from
    what a compiled kernel may depend on (see :func:`launch_key`), and passes pointers as numbers.
    """
    hooks = triton.knobs.runtime.launch_enter_hook
    if not _DIRECT or (hooks is not None and getattr(hooks, 'calls', True)):  # a profiler records each launch
        kernel[grid](*args, **meta)
        return
    key, values = launch_key(kernel, device, args, meta)
    found = _COMPILED.get(key)
    if found is None:
        compiled = kernel[grid](*args, **meta)
        constants = tuple(meta[name] for name in kernel.arg_names[len(args) :])
        _COMPILED[key] = compiled.run, compiled.function, compiled.packed_metadata, constants
        return
    run, function, metadata, constants = found
    x, y, z = (*grid, 1, 1)[:3]
    stream = torch._C._cuda_getCurrentRawStream(device)
    run(x, y, z, stream, function, metadata, None, None, None, *values, *constants)


def launch_key(kernel, device: int, args: tuple, meta: dict) -> tuple[tuple, list]:
    """A key of all that a compiled kernel may depend on, and the arguments with pointers as numbers.

    The key has the kernel, the device, the dtypes of pointers and whether they are multiples of 16 bytes, the values of
    integers, and all compile-time arguments. It distinguishes more than Triton does, which only asks whether an integer
    is 1, is a multiple of 16, or needs 64 bits.
    """
    key, values, bits = [id(kernel), device], [], 0
    for arg in args:
        kind = type(arg)
        if kind is int:
            key.append(arg)
            values.append(arg)
        elif kind is float:
            values.append(arg)
        else:
            pointer = arg.data_ptr()
            bits |= pointer
            key.append(arg.dtype)
            values.append(pointer)
    if bits % 16:
        key += [value % 16 == 0 for value in values]
    # with the names: measured tiles do not all have the same options
    return (*key, *meta, *meta.values()), values


def cdiv(size: int, block: int) -> int:
    """The number of blocks that cover ``size``. Triton's own function takes 5 microseconds."""
    return -(-size // block)


def next_power_of_2(size: int) -> int:
    """The smallest power of two that is at least ``size``."""
    return 1 << (size - 1).bit_length()


@functools.lru_cache
def sm_count(device: torch.device) -> int:
    """The number of streaming multiprocessors; two in the interpreter, so that programs share the tiles."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == 'cuda' else 2


@functools.lru_cache
def has_wgmma(device: torch.device) -> bool:
    """Whether products read both operands from shared memory (Hopper, and Blackwell for data centres)."""
    return device.type == 'cuda' and torch.cuda.get_device_capability(device)[0] in (9, 10)


def split_rows(rows: int, block: int, programs: int) -> tuple[int, int]:
    """How many programs share the tiles of ``block`` rows, at most ``programs``, and the tiles of each."""
    tiles = cdiv(rows, block)
    each = cdiv(tiles, max(1, min(tiles, programs)))
    return cdiv(tiles, each), each


def split_columns(columns: int, least: int = 16) -> tuple[int, int]:
    """``columns`` as one or two powers of two (the second may be 0), each at least ``least``, with little left over.

    A tile's sides are powers of two, and the bottleneck's widths (48, 96, 160, 192) mostly are not.
    """
    first = max(least, 1 << (columns.bit_length() - 1))
    if columns <= first:
        return first, 0
    second = max(least, next_power_of_2(columns - first))
    return (first, second) if second < first else (2 * first, 0)


def unit(*sizes: int) -> int:
    """The largest power of two up to 16 that divides all sizes.

    The compiler only checks whether an argument is a multiple of 16, and loads element by element if it is not. Growth
    rates such as 12 and 40 give strides that are multiples of 4 or 8, which allow wide loads if the kernel knows them.
    """
    return math.gcd(16, *sizes)


def row_major(rows: Tensor) -> Tensor:
    """The matrix itself if its channels are contiguous, else a contiguous copy."""
    return rows if rows.stride(1) == 1 else rows.contiguous()


def precision(dtype: torch.dtype) -> str:
    """Input precision of float32 products: TensorFloat32 where the user allows it, else IEEE.

    Products of narrower dtypes are exact, and their sums are float32.
    """
    return 'tf32' if dtype == torch.float32 and torch.backends.cuda.matmul.allow_tf32 else 'ieee'


def merge_statistics(partial: Tensor, rows: int, rows_each: int) -> tuple[Tensor, Tensor]:
    """Mean and biased variance, each (C,), from those of groups of ``rows_each`` rows, (P, 2, C).

    The last group may have fewer rows.
    """
    while True:
        groups, _, columns = partial.shape
        # one program if there are few groups, else several that merge 256 groups each
        each = groups if groups <= 512 else 256
        programs = cdiv(groups, each)
        merged = partial.new_empty((2, columns) if programs == 1 else (programs, 2, columns))
        launch(
            merge_statistics_kernel, (cdiv(columns, 16), programs),
            partial, merged,
            rows, rows_each, groups, columns, each,
            BLOCK_P=max(32, min(256, next_power_of_2(each))), BLOCK_C=16, num_warps=4,
        )  # fmt: skip
        if programs == 1:
            return merged.unbind()
        partial, rows_each = merged, rows_each * each


def sum_partials(partial: Tensor) -> Tensor:
    """The sum over the first dimension, (P, ...) to (...), float32."""
    shape = partial.shape[1:]
    size = shape.numel()
    # with few columns read more rows at a time: a program waits for memory once per step
    block_p, block_c = (256, 16) if size <= 8192 else (32, 128)
    while True:
        programs = len(partial)
        each = programs if programs <= 2 * block_p else block_p
        sums = cdiv(programs, each)
        out = partial.new_empty(shape if sums == 1 else (sums, *shape))
        launch(
            sum_partials_kernel, (cdiv(size, block_c), sums),
            partial, out,
            programs, size, each,
            BLOCK_P=min(block_p, next_power_of_2(each)), BLOCK_C=block_c, num_warps=4,
        )  # fmt: skip
        if sums == 1:
            return out
        partial = out


@triton.jit(do_not_specialize=['rows', 'rows_each', 'groups', 'groups_each'])
def merge_statistics_kernel(
    partial_ptr,  # (P, 2, C) fp32, contiguous: mean and biased variance of each group of rows
    out_ptr,  # (programs, 2, C) fp32, contiguous, written: the same of larger groups
    rows,
    rows_each,  # rows of a group; the last has fewer
    groups,  # P
    columns,
    groups_each,  # groups that a program merges
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    c = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    inside = c < columns
    first = tl.program_id(1) * groups_each
    stop = tl.minimum(first + groups_each, groups)
    size = (tl.minimum(stop * rows_each, rows) - first * rows_each).to(tl.float32)
    # Chan et al. (1979), around the first group's mean: sums of large means would lose digits.
    pivot = tl.load(partial_ptr + first * 2 * columns + c, mask=inside, other=0.0)
    total = tl.zeros((BLOCK_P, BLOCK_C), tl.float32)
    for start in range(first, stop, BLOCK_P):
        p = start + tl.arange(0, BLOCK_P)
        present = (p < stop)[:, None] & inside[None, :]
        weight = tl.minimum(rows - p * rows_each, rows_each).to(tl.float32) / size
        mean = tl.load(partial_ptr + p[:, None] * 2 * columns + c[None, :], mask=present, other=0.0)
        total += tl.where(present, weight[:, None] * (mean - pivot[None, :]), 0.0)
    mean_of_all = pivot + tl.sum(total, 0)
    total = tl.zeros((BLOCK_P, BLOCK_C), tl.float32)
    for start in range(first, stop, BLOCK_P):
        p = start + tl.arange(0, BLOCK_P)
        present = (p < stop)[:, None] & inside[None, :]
        weight = tl.minimum(rows - p * rows_each, rows_each).to(tl.float32) / size
        pointers = partial_ptr + p[:, None] * 2 * columns + c[None, :]
        difference = tl.load(pointers, mask=present, other=0.0) - mean_of_all[None, :]
        variance = tl.load(pointers + columns, mask=present, other=0.0)
        total += tl.where(present, weight[:, None] * (variance + difference * difference), 0.0)
    out_ptr += tl.program_id(1) * 2 * columns
    tl.store(out_ptr + c, mean_of_all, mask=inside)
    tl.store(out_ptr + columns + c, tl.sum(total, 0), mask=inside)


@triton.jit(do_not_specialize=['programs', 'programs_each'])
def sum_partials_kernel(
    partial_ptr,  # (P, size) fp32, contiguous
    out_ptr,  # (ceil(P / programs_each), size) fp32, contiguous, written
    programs,
    size,
    programs_each,  # rows that are summed into one
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    c = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    first = tl.program_id(1) * programs_each
    stop = tl.minimum(first + programs_each, programs)
    total = tl.zeros((BLOCK_P, BLOCK_C), tl.float32)
    for start in range(first, stop, BLOCK_P):
        p = start + tl.arange(0, BLOCK_P)
        present = (p < stop)[:, None] & (c < size)[None, :]
        total += tl.load(partial_ptr + p.to(tl.int64)[:, None] * size + c[None, :], mask=present, other=0.0)
    tl.store(out_ptr + tl.program_id(1) * size + c, tl.sum(total, 0), mask=c < size)


@triton.jit
def multiple_of(value, UNIT: tl.constexpr):
    """``value``, which UNIT divides, written so that the compiler sees it."""
    return value // UNIT * UNIT


@triton.jit
def relu(value):
    """ReLU that keeps NaN, as torch's does."""
    return tl.where(value <= 0, 0.0, value)


@triton.jit
def tile_statistics(tile, present, size):
    """Mean and biased variance of a tile's columns, over the ``size`` rows that are present."""
    mean = tl.sum(tl.where(present, tile, 0.0), 0) / size
    centred = tl.where(present, tile - mean[None, :], 0.0)
    return mean, tl.sum(centred * centred, 0) / size


@triton.jit
def store_statistics(partial_ptr, group, columns, c, mean, variance):
    """One row of the (P, 2, C) matrix that ``merge_statistics`` reads."""
    partial_ptr += group * 2 * columns
    tl.store(partial_ptr + c, mean, mask=c < columns)
    tl.store(partial_ptr + columns + c, variance, mask=c < columns)
