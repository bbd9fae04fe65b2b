"""The Triton kernels of the 3x3 convolution and its gradients."""

import pytest
import torch
import torch.nn.functional as F
from support.pairwise import pairwise
from support.triton_kernels import (
    DEVICE,
    DTYPES,
    SIZES,
    affine,
    as_rows,
    compare,
    dtypes,
    images,
    mean_and_variance,
    rows,
    sizes,
    sums_of,
    vectors,
)

from mmdensenet.ops.steps.triton import conv
from mmdensenet.ops.steps.triton import triton_steps as kernels


def plain_conv(dtype, x, scale, shift, weight, shape, mask):
    u = affine(dtype, x, scale, shift).relu()
    out = as_rows(F.conv2d(images(u, shape), weight.to(dtype), padding=1))
    if mask is not None:
        out = (out * mask).to(dtype)
    return out, *mean_and_variance(out)


@pytest.mark.parametrize(
    ('size', 'dtype', 'implicit', 'dropout'), pairwise(SIZES, DTYPES, [True, False], [False, True])
)
def test_norm_relu_conv3x3(size, dtype, implicit, dropout, monkeypatch):
    monkeypatch.setattr(conv, 'IMPLICIT', implicit)
    shape, _, j, k = size
    m = shape[0] * shape[1] * shape[2]
    x, weight, out = rows(m, j, dtype), torch.randn(k, j, 3, 3, device=DEVICE), rows(m, k, dtype, before=12)
    scale, shift = vectors(j)
    mask = (torch.rand(m, k, device=DEVICE) > 0.3) / 0.7 if dropout else None
    before = out._base.clone()
    statistics = kernels.norm_relu_conv3x3(x, scale, shift, weight, shape, out, mask)
    compare((out, *statistics), plain_conv, dtype, x, scale, shift, weight, shape, mask)
    assert torch.equal(out._base[:, :12], before[:, :12])
    assert torch.equal(out._base[:, 12 + k :], before[:, 12 + k :])


def plain_conv_backward(dtype, x, scale, shift, mean, weight, shape, grad):
    z = affine(dtype, x, scale, shift)
    u, w = images(z.relu(), shape).requires_grad_(), weight.to(dtype).requires_grad_()
    grad_u, grad_weight = torch.autograd.grad(F.conv2d(u, w, padding=1), (u, w), images(grad, shape))
    dz = as_rows(grad_u) * (z > 0)
    return dz, grad_weight, *sums_of(dz, x, mean)


@dtypes
@sizes
def test_norm_relu_conv3x3_backward(size, dtype):
    shape, _, j, k = size
    m = shape[0] * shape[1] * shape[2]
    x, grad, weight = rows(m, j, dtype), rows(m, k, dtype), torch.randn(k, j, 3, 3, device=DEVICE)
    scale, shift = vectors(j)
    inputs = x, scale, shift, x.float().mean(0), weight, shape, grad
    results = kernels.norm_relu_conv3x3_backward(*inputs)
    assert (results[0].dtype, results[1].dtype) == (dtype, weight.dtype)
    compare(results, plain_conv_backward, dtype, *inputs)
