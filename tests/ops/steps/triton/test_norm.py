"""The Triton kernels of the norm: statistics, and the norm of channels that are appended."""

import pytest
import torch
from support.triton_kernels import (
    DEVICE,
    DTYPES,
    compare,
    dtypes,
    error,
    mean_and_variance,
    rows,
    sizes,
)

from mmdensenet.ops import norms
from mmdensenet.ops.steps.triton import triton_steps as kernels


@dtypes
@sizes
def test_statistics(size, dtype):
    shape, c, *_ = size
    x = rows(shape[0] * shape[1] * shape[2], c, dtype)
    compare(kernels.statistics(x), lambda _, x: mean_and_variance(x), dtype, x)


@pytest.mark.parametrize('dtype', DTYPES, ids=str)
def test_statistics_of_channels_far_from_zero(dtype):
    """Means of 1000 times the spread: squares minus the squared mean would lose all digits but one or two."""
    x = rows(300, 8, torch.float32) + 1000
    x = x.to(dtype)
    mean, variance = kernels.statistics(x)
    assert error(mean, x.double().mean(0)) < 1e-6
    # the means of the parts, rounded to float32, are known to 6e-5 of the spread
    assert error(variance, x.double().var(0, correction=0)) < 6e-5

    features = (1 + 1e-3 * torch.randn(200, 8, device=DEVICE)).to(dtype)
    weight = torch.rand(20, 8, device=DEVICE) + 0.5
    out, mean, variance = kernels.norm_relu_matmul(
        features, torch.ones(8, device=DEVICE), torch.zeros(8, device=DEVICE), weight
    )
    assert error(mean, out.double().mean(0)) < 1e-6
    assert error(variance, out.double().var(0, correction=0)) < 6e-5


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize('start', [0, 5, 130])
def test_norms_of_channels_that_were_written_last(start, dtype):
    k, eps = 12, 1e-3
    stop = start + k
    gamma, beta = (torch.randn(stop, device=DEVICE).to(dtype) for _ in range(2))
    mean, var, rstd = (torch.rand(stop + 3, device=DEVICE) + 0.1 for _ in range(3))
    new_mean, new_var = (torch.rand(k, device=DEVICE) for _ in range(2))
    expected = [value.clone() for value in (mean, var, rstd)]
    want = norms.extend_norm(new_mean, new_var, *expected, stop, eps, gamma, beta)
    got = kernels.extend_norm(new_mean, new_var, mean, var, rstd, stop, eps, gamma, beta)
    for actual, exact in zip((*got, mean, var, rstd), (*want, *expected)):
        torch.testing.assert_close(actual, exact)
    before = mean[stop:].clone()
    assert kernels.extend_norm(new_var, new_mean + 1, mean, var, rstd, stop, eps) is None
    assert torch.equal(mean[start:stop], new_var) and torch.equal(var[start:stop], new_mean + 1)
    assert torch.equal(mean[stop:], before)
    got = kernels.new_norm(new_mean, new_var, eps, gamma[:k], beta[:k])
    for actual, exact in zip(got, norms.new_norm(new_mean, new_var, eps, gamma[:k], beta[:k])):
        torch.testing.assert_close(actual, exact)
