"""The Triton kernels of the 1x1 convolution, also of pooled rows."""

import pytest
import torch
import torch.nn.functional as F
from support.triton_kernels import (
    DEVICE,
    affine,
    as_rows,
    compare,
    dtypes,
    images,
    mean_and_variance,
    rows,
    sizes,
    vectors,
)

from mmdensenet.ops.steps.triton import triton_steps as kernels


def plain_matmul(dtype, x, scale, shift, weight):
    out = affine(dtype, x, scale, shift).relu() @ weight.to(dtype).t()
    return out, *mean_and_variance(out)


@dtypes
@sizes
def test_norm_relu_matmul(size, dtype):
    shape, c, j, _ = size
    x, weight = rows(shape[0] * shape[1] * shape[2], c, dtype), torch.randn(j, c, device=DEVICE)
    scale, shift = vectors(c)
    compare(kernels.norm_relu_matmul(x, scale, shift, weight), plain_matmul, dtype, x, scale, shift, weight)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16], ids=str)
def test_more_columns_than_one_program_has(dtype):
    x, weight = rows(40, 20, dtype), torch.randn(300, 20, device=DEVICE)
    scale, shift = vectors(20)
    compare(kernels.norm_relu_matmul(x, scale, shift, weight), plain_matmul, dtype, x, scale, shift, weight)


def plain_pool(dtype, x, scale, shift, weight, shape):
    z = affine(dtype, x, scale, shift).relu()
    out = as_rows(F.avg_pool2d(images(z, shape), 2)) @ weight.to(dtype).t()
    return out, *mean_and_variance(out)


@dtypes
@sizes
def test_norm_relu_pool_matmul(size, dtype):
    shape, c, j, _ = size
    x, weight = rows(shape[0] * shape[1] * shape[2], c, dtype), torch.randn(j, c, device=DEVICE)
    inputs = x, *vectors(c), weight, shape
    out, *none = kernels.norm_relu_pool_matmul(*inputs)
    assert none == [None, None]
    compare((out,), lambda *args: plain_pool(*args)[:1], dtype, *inputs)


def test_an_image_too_small_to_pool():
    x, vector = rows(5, 4, torch.float32), torch.ones(4, device=DEVICE)
    with pytest.raises(ValueError, match='images of 1x5 cannot be pooled'):
        kernels.norm_relu_pool_matmul(x, vector, vector, torch.ones(3, 4, device=DEVICE), (1, 1, 5))


def test_nan_is_not_hidden_by_relu():
    """Loss scaling depends on it: an overflow must be seen."""
    x, vector = rows(6, 4, torch.float16), torch.ones(4, device=DEVICE)
    x[2, 1] = float('nan')
    out, *_ = kernels.norm_relu_matmul(x, vector, vector, torch.ones(3, 4, device=DEVICE))
    assert out[2].isnan().all() and not out[:2].isnan().any()
