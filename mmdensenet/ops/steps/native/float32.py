"""The steps for float32 features."""

import torch
from torch import Tensor

from ...rows import Shape
from ..plain import plain_steps
from ..protocol import Steps
from . import evaluation, norm
from .library import load
from .pointers import (
    data_ptr,
    new_sums,
    plain_rows,
    plain_values,
    plain_weight,
    rows_ptr,
    sums_ptr,
    vectors_ptr,
    weight_ptr,
)


class NativeSteps(Steps):
    name = 'native'
    evaluates_whole = True

    statistics = staticmethod(norm.statistics)
    batch_norm_backward_sums = staticmethod(norm.batch_norm_backward_sums)
    batch_norm_backward = staticmethod(norm.batch_norm_backward)
    evaluate_stage = staticmethod(evaluation.evaluate_stage)
    evaluate_stem = staticmethod(evaluation.evaluate_stem)
    # as wide as the features, so that torch's convolution on chunks of images is as good
    norm_relu_conv3x3_backward_into = plain_steps.norm_relu_conv3x3_backward_into

    def norm_relu_matmul(self, features, scale, shift, weight, measure=True):
        return _matmul(features, scale, shift, weight, None, measure)

    def norm_relu_pool_matmul(self, features, scale, shift, weight, shape):
        return _matmul(features, scale, shift, weight, shape, False)

    def norm_relu_matmul_backward(
        self, features, scale, shift, mean, weight, grad, coefficient, accumulator, overwrite=False
    ):
        return _matmul_backward(features, scale, shift, mean, weight, None, grad, coefficient, accumulator, overwrite)

    def norm_relu_pool_matmul_backward(
        self, features, scale, shift, mean, weight, shape, grad, coefficient, accumulator, overwrite=False
    ):
        _, h, w = shape
        if overwrite and (h % 2 or w % 2):
            accumulator.zero_()  # the pooling drops pixels, which the kernel does not see
        return _matmul_backward(features, scale, shift, mean, weight, shape, grad, coefficient, accumulator, overwrite)

    def norm_relu_conv3x3(self, rows, scale, shift, weight, shape, out, mask=None, measure=True):
        rows, shift, weight = plain_rows(rows), plain_values(shift), plain_weight(weight)
        scale = None if scale is None else plain_values(scale)
        mask = None if mask is None else mask.contiguous()
        (k, j), (n, h, w) = weight.shape[:2], shape
        mean, var = (rows.new_empty(k), rows.new_empty(k)) if measure else (None, None)
        load().functions.norm_relu_conv3x3(
            *rows_ptr(rows, 'rows', n * h * w, j), n, h, w, j,
            *vectors_ptr(j, scale=scale, shift=shift),
            *weight_ptr(weight, 'weight', k, j), k,
            *rows_ptr(out, 'out', n * h * w, k, written=True),
            None if mask is None else data_ptr(mask, 'mask', (n * h * w, k)),
            *vectors_ptr(k, mean=mean, var=var),
            torch.get_num_threads(),
        )  # fmt: skip
        return mean, var

    def norm_relu_conv3x3_backward(self, rows, scale, shift, mean, weight, shape, grad):
        rows, grad, values = plain_rows(rows), plain_rows(grad), plain_weight(weight)
        scale, shift, mean = map(plain_values, (scale, shift, mean))
        (k, j), (n, h, w) = values.shape[:2], shape
        grad_z = rows.new_empty(n * h * w, j)
        grad_weight, sums = torch.empty_like(values), new_sums(j)
        load().functions.norm_relu_conv3x3_backward(
            *rows_ptr(rows, 'rows', n * h * w, j), n, h, w, j,
            *vectors_ptr(j, scale=scale, shift=shift, mean=mean),
            *weight_ptr(values, 'weight', k, j), k,
            *rows_ptr(grad, 'grad', n * h * w, k),
            data_ptr(grad_z, 'grad_z', (n * h * w, j)), weight_ptr(grad_weight, 'grad_weight', k, j)[0],
            *sums_ptr(sums),
            torch.get_num_threads(),
        )  # fmt: skip
        return grad_z, grad_weight.to(weight.dtype), *(s.float() for s in sums)

    def norm_relu_max_pool(self, rows, scale, shift, shape):
        rows, scale, shift = plain_rows(rows), plain_values(scale), plain_values(shift)
        (n, h, w), c = shape, rows.shape[1]
        out = rows.new_empty(n * ((h + 1) // 2) * ((w + 1) // 2), c)
        load().functions.norm_relu_max_pool(
            *rows_ptr(rows, 'rows', n * h * w, c), n, h, w, c,
            *vectors_ptr(c, scale=scale, shift=shift),
            data_ptr(out, 'out', out.shape),
            torch.get_num_threads(),
        )  # fmt: skip
        return out

    def norm_relu_max_pool_backward(self, rows, scale, shift, mean, shape, grad):
        rows, grad = plain_rows(rows), grad.contiguous()
        scale, shift, mean = map(plain_values, (scale, shift, mean))
        (n, h, w), c = shape, rows.shape[1]
        grad_z, sums = rows.new_empty(rows.shape), new_sums(c)
        load().functions.norm_relu_max_pool_backward(
            *rows_ptr(rows, 'rows', n * h * w, c), n, h, w, c,
            *vectors_ptr(c, scale=scale, shift=shift, mean=mean),
            data_ptr(grad, 'grad', (n * ((h + 1) // 2) * ((w + 1) // 2), c)),
            data_ptr(grad_z, 'grad_z', rows.shape), *sums_ptr(sums),
            torch.get_num_threads(),
        )  # fmt: skip
        return grad_z, sums[0].float(), sums[1].float()


float32_steps = NativeSteps()


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
        *vectors_ptr(c, scale=scale, shift=shift),
        data_ptr(weight, 'weight', (width, c)), width,
        data_ptr(out, 'out', (count, width)), *vectors_ptr(width, mean=mean, var=var),
        torch.get_num_threads(),
    )  # fmt: skip
    return out, mean, var


def _matmul_backward(features, scale, shift, mean, weight, shape, grad, coefficient, accumulator, overwrite):
    features, grad, values = plain_rows(features), grad.contiguous(), plain_values(weight)
    scale, shift, mean, coefficient = map(plain_values, (scale, shift, mean, coefficient))
    width, c = values.shape
    rows, h, w, count = _products(features, shape)
    grad_weight, sums = torch.empty_like(values), new_sums(c)
    load().functions.norm_relu_matmul_backward(
        *rows_ptr(features, 'features', rows, c), h, w, count, c,
        *vectors_ptr(c, scale=scale, shift=shift, mean=mean),
        data_ptr(values, 'weight', (width, c)), width,
        data_ptr(grad, 'grad', (count, width)), *vectors_ptr(c, coefficient=coefficient),
        *rows_ptr(accumulator, 'accumulator', rows, c, written=True), overwrite,
        data_ptr(grad_weight, 'grad_weight', (width, c)), *sums_ptr(sums),
        torch.get_num_threads(),
    )  # fmt: skip
    return grad_weight.to(weight.dtype), *(s.float() for s in sums)
