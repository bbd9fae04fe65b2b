"""The Triton kernels of the gradients of the 1x1 convolution, also of pooled rows."""

import pytest
import torch
import torch.nn.functional as F
from support.pairwise import pairwise
from support.triton_kernels import DEVICE, DTYPES, SIZES, affine, as_rows, compare, images, rows, sums_of, vectors

from mmdensenet.ops.steps.triton import matmul_backward
from mmdensenet.ops.steps.triton import triton_steps as kernels


def plain_matmul_backward(dtype, x, scale, shift, mean, weight, grad, coefficient, accumulator, overwrite):
    z = affine(dtype, x, scale, shift)
    dz = (grad @ weight.to(dtype)) * (z > 0)
    scaled = (coefficient * dz).to(dtype)
    return scaled if overwrite else accumulator + scaled, grad.t() @ z.relu(), *sums_of(dz, x, mean)


# float32 always takes two kernels
@pytest.mark.parametrize(
    ('size', 'dtype', 'overwrite', 'fused'),
    pairwise(SIZES, DTYPES, [False, True], [True, False], allowed=lambda _s, t, _o, one: t != torch.float32 or not one),
)
def test_norm_relu_matmul_backward(size, dtype, overwrite, fused, monkeypatch):
    monkeypatch.setattr(matmul_backward, 'has_wgmma', lambda device: fused)
    shape, c, j, _ = size
    m = shape[0] * shape[1] * shape[2]
    x, grad, accumulator = rows(m, c, dtype), rows(m, j, dtype), rows(m, c, dtype, before=4)
    before, outside = accumulator.clone(), accumulator._base[:, :4].clone()
    weight, mean = torch.randn(j, c, device=DEVICE), x.float().mean(0)
    scale, shift, coefficient = vectors(c, 3)
    results = kernels.norm_relu_matmul_backward(
        x, scale, shift, mean, weight, grad, coefficient, accumulator, overwrite=overwrite
    )
    assert results[0].dtype == weight.dtype
    inputs = x, scale, shift, mean, weight, grad, coefficient, before, overwrite
    compare((accumulator, *results), plain_matmul_backward, dtype, *inputs)
    assert torch.equal(accumulator._base[:, :4], outside)


def plain_pool_backward(dtype, x, scale, shift, mean, weight, shape, grad, coefficient, accumulator, overwrite):
    z = affine(dtype, x, scale, shift)
    u = z.relu().requires_grad_()
    pooled = as_rows(F.avg_pool2d(images(u, shape), 2))
    (grad_u,) = torch.autograd.grad(pooled, u, grad @ weight.to(dtype))
    dz = grad_u * (z > 0)
    scaled = (coefficient * dz).to(dtype)
    return scaled if overwrite else accumulator + scaled, grad.t() @ pooled.detach(), *sums_of(dz, x, mean)


@pytest.mark.parametrize(('size', 'dtype', 'overwrite'), pairwise(SIZES, DTYPES, [False, True]))
def test_norm_relu_pool_matmul_backward(size, dtype, overwrite):
    shape, c, j, _ = size
    n, height, width = shape
    m = n * height * width
    x, accumulator = rows(m, c, dtype), rows(m, c, dtype, before=4)
    grad, weight = rows(n * (height // 2) * (width // 2), j, dtype), torch.randn(j, c, device=DEVICE)
    before, outside = accumulator.clone(), accumulator._base[:, :4].clone()
    scale, shift, coefficient = vectors(c, 3)
    inputs = x, scale, shift, x.float().mean(0), weight, shape, grad, coefficient
    results = kernels.norm_relu_pool_matmul_backward(*inputs, accumulator, overwrite=overwrite)
    compare((accumulator, *results), plain_pool_backward, dtype, *inputs, before, overwrite)
    assert torch.equal(accumulator._base[:, :4], outside)
