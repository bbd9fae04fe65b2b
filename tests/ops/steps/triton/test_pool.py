"""The Triton kernels of the stem's max pooling against plain torch: in the interpreter, or on a GPU where there is one.

Most inputs are multiples of 1/8 so small that float32 holds every product and sum exactly. Which of two pixels is
larger is then decided by rounding to the rows' type alone, and all results must be equal to the last bit.
"""

import pytest
import torch
from support.triton_kernels import DEVICE, dtypes

from mmdensenet.ops.steps.plain import plain_steps as plain
from mmdensenet.ops.steps.triton import pool
from mmdensenet.ops.steps.triton import triton_steps as kernels

#: (N, H, W), C: several tiles of a program; odd sides, and channels of two programs; pixels; lines
SIZES = [((2, 8, 10), 64), ((1, 7, 3), 96), ((3, 1, 1), 20), ((2, 1, 6), 24)]


def eighths(*size, largest=8):
    """Random multiples of 1/8, of either sign."""
    return torch.randint(-8 * largest, 8 * largest + 1, size, device=DEVICE) / 8


def inputs(shape, c, dtype, largest=8):
    """Rows and gradient as views into wider matrices, scale with a zero and negative ones, shift, and mean."""
    n, h, w = shape
    x = eighths(n * h * w, c + 8, largest=largest).to(dtype)[:, 8:]
    grad = eighths(n * ((h + 1) // 2) * ((w + 1) // 2), c + 4, largest=1).to(dtype)[:, :c]
    scale, shift, mean = eighths(3, c, largest=1)
    scale[0] = 0
    return x, scale, shift, mean, shape, grad


def assert_as_plain(x, scale, shift, mean, shape, grad):
    pooled, want = (steps.norm_relu_max_pool(x, scale, shift, shape) for steps in (kernels, plain))
    results = kernels.norm_relu_max_pool_backward(x, scale, shift, mean, shape, grad)
    wants = plain.norm_relu_max_pool_backward(x, scale, shift, mean, shape, grad)
    torch.testing.assert_close((pooled, *results), (want, *wants), rtol=0, atol=0, equal_nan=True)
    return results


@dtypes
@pytest.mark.parametrize('size', SIZES, ids=str)
def test_equals_plain(size, dtype, monkeypatch):
    monkeypatch.setattr(pool, 'PROGRAMS', 1)
    torch.manual_seed(0)
    dz, *_ = assert_as_plain(*inputs(*size, dtype))
    assert dz.any() and not dz.all()


@dtypes
def test_of_equal_values_the_first(dtype):
    """Five different values, in more than half of the windows the largest is there twice or more."""
    torch.manual_seed(0)
    x, *rest = inputs((1, 7, 8), 20, dtype)
    assert_as_plain((x / 4).round(), *rest)
    ones, zeros = torch.ones(20, device=DEVICE), torch.zeros(20, device=DEVICE)
    dz, *_ = assert_as_plain(torch.ones_like(x), ones, zeros, zeros, (1, 7, 8), torch.ones_like(rest[-1]))
    first = dz.view(7, 8, 20)[:, :, 0]
    # windows begin at pixel 0, 1, 3, 5; the padding does not count
    expected = torch.zeros(7, 8, device=DEVICE)
    for h in (0, 1, 3, 5):
        for w in (0, 1, 3, 5):
            expected[h, w] = 1
    assert torch.equal(first.float(), expected)


@dtypes
def test_of_nan_the_last_and_it_is_not_hidden(dtype):
    torch.manual_seed(0)
    x, *rest = inputs((1, 7, 8), 20, dtype)
    x[torch.rand(x.shape, device=DEVICE) < 0.2] = float('nan')
    x[0, 0] = -torch.tensor(float('nan'))
    x[torch.rand(x.shape, device=DEVICE) < 0.1] = float('inf')
    x[torch.rand(x.shape, device=DEVICE) < 0.1] = -float('inf')
    dz, *_ = assert_as_plain(x, *rest)
    assert dz[x.isnan()].any()


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16], ids=str)
def test_values_that_rounding_makes_equal_or_zero(dtype):
    """Neighbours that differ by less than the type resolves are equal; what rounds to 0 passes no gradient."""
    x = torch.tensor([1.0, 1.0, 0.0, 0.0], device=DEVICE).to(dtype)[:, None].repeat(1, 16)
    x[1] *= 1 + torch.finfo(dtype).eps
    scale, shift = torch.full((16,), 2.0**-10, device=DEVICE), torch.ones(16, device=DEVICE)
    grad = torch.ones(2, 16, device=DEVICE, dtype=dtype)
    dz, *_ = assert_as_plain(x, scale, shift, shift, (1, 1, 4), grad)
    # window 0 has the first two, of which the first counts; window 1 has the second, and both others as 1 or less
    assert dz[:, 0].tolist() == [1, 1, 0, 0]

    tiny = torch.full((16,), torch.finfo(dtype).tiny * torch.finfo(dtype).eps / 4, device=DEVICE)
    dz, *_ = assert_as_plain(x[:1], tiny, 0 * tiny, shift, (1, 1, 1), grad[:1])
    assert not dz.any()


@dtypes
def test_errs_no_more_than_plain(dtype):
    """Values in general: at most twice plain torch's error against float64, where no maximum is a near tie."""
    torch.manual_seed(0)
    shape, c = (1, 9, 8), 32
    order = torch.stack([torch.randperm(9 * 8) for _ in range(c)], 1).to(DEVICE)
    x = (order / 8 - 4).to(dtype)
    scale, shift, mean = (
        torch.rand(c, device=DEVICE) + 0.5,
        torch.randn(c, device=DEVICE),
        torch.randn(c, device=DEVICE),
    )
    grad = torch.randn(5 * 4, c, device=DEVICE).to(dtype)
    got, plains, exacts = (
        (f.norm_relu_max_pool(x, a, b, shape), *f.norm_relu_max_pool_backward(x, a, b, m, shape, g))
        for f, x, a, b, m, g in (
            (kernels, x, scale, shift, mean, grad),
            (plain, x, scale, shift, mean, grad),
            (plain, *(value.double() for value in (x, scale, shift, mean, grad))),
        )
    )
    for i, (actual, near, exact) in enumerate(zip(got, plains, exacts)):
        error, allowed = ((value.double() - exact).norm() / exact.norm() for value in (actual, near))
        assert error <= 2 * allowed + torch.finfo(torch.float32).eps, f'result {i}: {error:.3g}, plain {allowed:.3g}'


def test_two_runs_give_the_same_bits():
    torch.manual_seed(0)
    shape, c = (2, 8, 7), 40
    x, grad = torch.randn(2 * 8 * 7, c, device=DEVICE), torch.randn(2 * 4 * 4, c, device=DEVICE)
    scale, shift, mean = torch.randn(3, c, device=DEVICE)
    first, second = (kernels.norm_relu_max_pool_backward(x, scale, shift, mean, shape, grad) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second))
