"""The steps of :mod:`mmdensenet.ops.plain` in C++ for CPUs: float32, each pass fused into one, products in registers.

Installing the package compiles them where there is a compiler, and ``python tools/build_kernels.py`` for exactly this
processor (:mod:`.build`); without them plain torch does the same. The functions here are called through ctypes
(:mod:`.library`); arguments and results are those of :mod:`mmdensenet.ops.plain`, and what the kernels could not read
safely raises ValueError (:mod:`.pointers`).
:mod:`.bfloat16` has the steps for that type, :mod:`.evaluation` those for a whole stage and the stem.
"""

import functools
import logging
import sys
from collections.abc import Callable
from types import ModuleType

import torch
from torch import Tensor

from .. import plain
from ..rows import Shape
from .evaluation import evaluate_stage, evaluate_stem
from .library import NoKernelsError, UnusableKernelsError, load
from .pointers import data_ptr, plain_rows, plain_values, plain_weight, rows_ptr, values_ptr, weight_ptr

__all__ = [*plain.__all__, 'evaluate_stage', 'evaluate_stem', 'steps_of', 'why_not']


def why_not(dtype: torch.dtype = torch.float32) -> str | None:
    """The reason for which these steps cannot be used for features of this type, or None."""
    if dtype not in (torch.float32, torch.bfloat16):
        return 'the C++ kernels are for float32 and bfloat16'
    try:
        load()
    except NoKernelsError as reason:
        if isinstance(reason, UnusableKernelsError):
            _say_once(str(reason))
        return str(reason)
    return None


@functools.cache
def _say_once(reason: str) -> None:
    logging.getLogger(__name__).warning('Plain torch is used: %s', reason)


def steps_of(dtype: torch.dtype) -> ModuleType:
    """The module with the steps for features of this type."""
    from . import bfloat16

    return bfloat16 if dtype == torch.bfloat16 else sys.modules[__name__]


def _kernel(name: str, dtype: torch.dtype) -> Callable[..., None]:
    """The one for rows of this type."""
    return getattr(load().functions, f'{name}_bfloat16' if dtype is torch.bfloat16 else name)


def _sums(channels: int) -> tuple[Tensor, Tensor]:
    return torch.empty(channels, dtype=torch.float64), torch.empty(channels, dtype=torch.float64)


def _sums_ptr(sums: tuple[Tensor, Tensor]) -> tuple[int, int]:
    first, second = sums
    return tuple(data_ptr(s, 'sums', first.shape, torch.float64) for s in (first, second))


def _vectors_ptr(channels: int, **vectors: Tensor | None) -> list[int | None]:
    return [None if v is None else values_ptr(v, name, channels) for name, v in vectors.items()]


def statistics(rows: Tensor) -> tuple[Tensor, Tensor]:
    rows = plain_rows(rows)
    count, c = rows.shape
    mean, var = (torch.empty(c, dtype=torch.float32) for _ in range(2))
    _kernel('statistics', rows.dtype)(
        *rows_ptr(rows, 'rows', count, c, rows.dtype), count, c,
        *_vectors_ptr(c, mean=mean, var=var),
        torch.get_num_threads(),
    )  # fmt: skip
    return mean, var


def norm_relu_matmul(
    features: Tensor, scale: Tensor, shift: Tensor, weight: Tensor, measure: bool = True
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    return _matmul(features, scale, shift, weight, None, measure)


def norm_relu_pool_matmul(
    features: Tensor, scale: Tensor, shift: Tensor, weight: Tensor, shape: Shape
) -> tuple[Tensor, None, None]:
    return _matmul(features, scale, shift, weight, shape, False)


def _products(features: Tensor, shape: Shape | None) -> tuple[int, int, int, int]:
    """Rows of the features; the image's size, or zeros where nothing is pooled; rows of the product."""
    if shape is None:
        return features.shape[0], 0, 0, features.shape[0]
    n, h, w = shape
    return n * h * w, h, w, n * (h // 2) * (w // 2)


def _matmul(features: Tensor, scale: Tensor, shift: Tensor, weight: Tensor, shape: Shape | None, measure: bool):
    features, scale, shift, weight = plain_rows(features), *map(plain_values, (scale, shift, weight))
    width, c = weight.shape
    rows, h, w, count = _products(features, shape)
    out = features.new_empty(count, width)
    mean, var = (features.new_empty(width), features.new_empty(width)) if measure else (None, None)
    load().functions.norm_relu_matmul(
        *rows_ptr(features, 'features', rows, c), h, w, count, c,
        *_vectors_ptr(c, scale=scale, shift=shift),
        data_ptr(weight, 'weight', (width, c)), width,
        data_ptr(out, 'out', (count, width)), *_vectors_ptr(width, mean=mean, var=var),
        torch.get_num_threads(),
    )  # fmt: skip
    return out, mean, var


def norm_relu_matmul_backward(
    features: Tensor,
    scale: Tensor,
    shift: Tensor,
    mean: Tensor,
    weight: Tensor,
    grad: Tensor,
    coefficient: Tensor,
    accumulator: Tensor,
    overwrite: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    return _matmul_backward(features, scale, shift, mean, weight, None, grad, coefficient, accumulator, overwrite)


def norm_relu_pool_matmul_backward(
    features: Tensor,
    scale: Tensor,
    shift: Tensor,
    mean: Tensor,
    weight: Tensor,
    shape: Shape,
    grad: Tensor,
    coefficient: Tensor,
    accumulator: Tensor,
    overwrite: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    _, h, w = shape
    if overwrite and (h % 2 or w % 2):
        accumulator.zero_()  # the pooling drops pixels, which the kernel does not see
    return _matmul_backward(features, scale, shift, mean, weight, shape, grad, coefficient, accumulator, overwrite)


def _matmul_backward(features, scale, shift, mean, weight, shape, grad, coefficient, accumulator, overwrite):
    features, grad, values = plain_rows(features), grad.contiguous(), plain_values(weight)
    scale, shift, mean, coefficient = map(plain_values, (scale, shift, mean, coefficient))
    width, c = values.shape
    rows, h, w, count = _products(features, shape)
    grad_weight, sums = torch.empty_like(values), _sums(c)
    load().functions.norm_relu_matmul_backward(
        *rows_ptr(features, 'features', rows, c), h, w, count, c,
        *_vectors_ptr(c, scale=scale, shift=shift, mean=mean),
        data_ptr(values, 'weight', (width, c)), width,
        data_ptr(grad, 'grad', (count, width)), *_vectors_ptr(c, coefficient=coefficient),
        *rows_ptr(accumulator, 'accumulator', rows, c, written=True), overwrite,
        data_ptr(grad_weight, 'grad_weight', (width, c)), *_sums_ptr(sums),
        torch.get_num_threads(),
    )  # fmt: skip
    return grad_weight.to(weight.dtype), *(s.float() for s in sums)


def norm_relu_conv3x3(
    rows: Tensor,
    scale: Tensor | None,
    shift: Tensor,
    weight: Tensor,
    shape: Shape,
    out: Tensor,
    mask: Tensor | None = None,
    measure: bool = True,
) -> tuple[Tensor | None, Tensor | None]:
    rows, shift, weight = plain_rows(rows), plain_values(shift), plain_weight(weight)
    scale = None if scale is None else plain_values(scale)
    mask = None if mask is None else mask.contiguous()
    (k, j), (n, h, w) = weight.shape[:2], shape
    mean, var = (rows.new_empty(k), rows.new_empty(k)) if measure else (None, None)
    load().functions.norm_relu_conv3x3(
        *rows_ptr(rows, 'rows', n * h * w, j), n, h, w, j,
        *_vectors_ptr(j, scale=scale, shift=shift),
        *weight_ptr(weight, 'weight', k, j), k,
        *rows_ptr(out, 'out', n * h * w, k, written=True),
        None if mask is None else data_ptr(mask, 'mask', (n * h * w, k)),
        *_vectors_ptr(k, mean=mean, var=var),
        torch.get_num_threads(),
    )  # fmt: skip
    return mean, var


def norm_relu_conv3x3_backward(
    rows: Tensor, scale: Tensor, shift: Tensor, mean: Tensor, weight: Tensor, shape: Shape, grad: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    rows, grad, values = plain_rows(rows), plain_rows(grad), plain_weight(weight)
    scale, shift, mean = map(plain_values, (scale, shift, mean))
    (k, j), (n, h, w) = values.shape[:2], shape
    grad_z = rows.new_empty(n * h * w, j)
    grad_weight, sums = torch.empty_like(values), _sums(j)
    load().functions.norm_relu_conv3x3_backward(
        *rows_ptr(rows, 'rows', n * h * w, j), n, h, w, j,
        *_vectors_ptr(j, scale=scale, shift=shift, mean=mean),
        *weight_ptr(values, 'weight', k, j), k,
        *rows_ptr(grad, 'grad', n * h * w, k),
        data_ptr(grad_z, 'grad_z', (n * h * w, j)), weight_ptr(grad_weight, 'grad_weight', k, j)[0], *_sums_ptr(sums),
        torch.get_num_threads(),
    )  # fmt: skip
    return grad_z, grad_weight.to(weight.dtype), *(s.float() for s in sums)


new_norm, extend_norm = plain.new_norm, plain.extend_norm

# as wide as the features, so that torch's convolution on chunks of images is as good
norm_relu_conv3x3_backward_into = plain.norm_relu_conv3x3_backward_into


def norm_relu_max_pool(rows: Tensor, scale: Tensor, shift: Tensor, shape: Shape) -> Tensor:
    rows, scale, shift = plain_rows(rows), plain_values(scale), plain_values(shift)
    (n, h, w), c = shape, rows.shape[1]
    out = rows.new_empty(n * ((h + 1) // 2) * ((w + 1) // 2), c)
    load().functions.norm_relu_max_pool(
        *rows_ptr(rows, 'rows', n * h * w, c), n, h, w, c,
        *_vectors_ptr(c, scale=scale, shift=shift),
        data_ptr(out, 'out', out.shape),
        torch.get_num_threads(),
    )  # fmt: skip
    return out


def norm_relu_max_pool_backward(
    rows: Tensor, scale: Tensor, shift: Tensor, mean: Tensor, shape: Shape, grad: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    rows, grad = plain_rows(rows), grad.contiguous()
    scale, shift, mean = map(plain_values, (scale, shift, mean))
    (n, h, w), c = shape, rows.shape[1]
    grad_z, sums = rows.new_empty(rows.shape), _sums(c)
    load().functions.norm_relu_max_pool_backward(
        *rows_ptr(rows, 'rows', n * h * w, c), n, h, w, c,
        *_vectors_ptr(c, scale=scale, shift=shift, mean=mean),
        data_ptr(grad, 'grad', (n * ((h + 1) // 2) * ((w + 1) // 2), c)),
        data_ptr(grad_z, 'grad_z', rows.shape), *_sums_ptr(sums),
        torch.get_num_threads(),
    )  # fmt: skip
    return grad_z, sums[0].float(), sums[1].float()


def batch_norm_backward_sums(grad: Tensor, rows: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    grad, rows, mean = plain_rows(grad), plain_rows(rows), plain_values(mean)
    (count, c), dtype = rows.shape, rows.dtype
    sums = _sums(c)
    _kernel('batch_norm_backward_sums', dtype)(
        *rows_ptr(grad, 'grad', count, c, dtype),
        *rows_ptr(rows, 'rows', count, c, dtype), count, c,
        *_vectors_ptr(c, mean=mean),
        *_sums_ptr(sums),
        torch.get_num_threads(),
    )  # fmt: skip
    return sums[0].float(), sums[1].float()


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
    mean_grad, mean_grad_normalised = sum_grad / total, sum_centred * rstd / total
    grad, rows = plain_rows(grad), plain_rows(rows)
    add = None if add is None else plain_rows(add)
    if out is None:
        out = torch.empty_like(rows, memory_format=torch.contiguous_format)
    mean, coefficient = plain_values(mean), plain_values(coefficient)
    offset, slope = (-mean_grad * coefficient).float(), (-rstd * mean_grad_normalised * coefficient).float()
    (count, c), dtype = rows.shape, rows.dtype
    _kernel('batch_norm_backward', dtype)(
        *rows_ptr(grad, 'grad', count, c, dtype),
        *rows_ptr(rows, 'rows', count, c, dtype), count, c,
        *_vectors_ptr(c, mean=mean, coefficient=coefficient, offset=offset, slope=slope),
        *((None, 0) if add is None else rows_ptr(add, 'add', count, c, dtype)),
        *rows_ptr(out, 'out', count, c, dtype, written=True),
        torch.get_num_threads(),
    )  # fmt: skip
    return out
