"""No image of a batch sees another: NaN, infinities or 1e30 in one change nothing in the others, to the last bit."""

import pytest
import torch
from isolation import assert_isolated, cases
from torch import Tensor

from mmdensenet.ops.steps import native
from mmdensenet.ops.steps.native import float32_steps
from mmdensenet.ops.steps.plain import plain_steps as plain


def random_rows(count: int, channels: int) -> Tensor:
    return torch.randn(count, channels + 3)[:, :channels]


def results(steps, shape, bad: float | None, image: int, c: int, k: int, dtype: torch.dtype, seed: int) -> dict:
    """Of each step with fixed norms what has a row for each pixel, (N, rows, channels); random numbers by the seed."""
    torch.manual_seed(seed)
    n, h, w = shape
    m, j = n * h * w, 4 * k
    features, y, grad_new, grad_y = (random_rows(m, width).to(dtype) for width in (c, j, k, j))
    pooled, halved = n * (h // 2) * (w // 2), n * ((h + 1) // 2) * ((w + 1) // 2)
    grad_pooled, grad_max = torch.randn(pooled, j).to(dtype), torch.randn(halved, c).to(dtype)
    if bad is not None:
        for tensor in (features, y, grad_new, grad_y, grad_pooled, grad_max):
            if len(tensor):
                rows = tensor.view(n, -1, tensor.shape[1])[image]
                pixel = torch.randint(len(rows), (1,)) if seed % 2 else slice(None)
                rows[pixel, torch.randint(rows.shape[1], (1,)) if seed % 3 else slice(None)] = bad
    torch.manual_seed(seed + 1)
    w1, w2, w3 = torch.randn(j, c), torch.randn(k, j, 3, 3), torch.randn(k, c, 3, 3)
    scale, shift, mean = torch.randn(3, c)
    scale2, shift2, mean2 = torch.randn(3, j)
    new, into = features.new_empty(m, k), [torch.zeros_like(features) for _ in range(3)]
    steps.norm_relu_conv3x3(y, scale2, shift2, w2, shape, new, measure=False)
    steps.norm_relu_matmul_backward(features, scale, shift, mean, w1, grad_y, scale, into[0])
    if pooled:  # AvgPool2d refuses maps of one line
        steps.norm_relu_pool_matmul_backward(features, scale, shift, mean, w1, shape, grad_pooled, scale, into[1])
    steps.norm_relu_conv3x3_backward_into(features, scale, shift, mean, w3, shape, grad_new, scale, into[2])
    found = dict(
        matmul=steps.norm_relu_matmul(features, scale, shift, w1, measure=False)[0],
        pool=steps.norm_relu_pool_matmul(features, scale, shift, w1, shape)[0] if pooled else new,
        max_pool=steps.norm_relu_max_pool(features, scale, shift, shape),
        max_pool_backward=steps.norm_relu_max_pool_backward(features, scale, shift, mean, shape, grad_max)[0],
        conv=new,
        conv_backward=steps.norm_relu_conv3x3_backward(y, scale2, shift2, mean2, w2, shape, grad_new)[0],
        matmul_backward=into[0],
        pool_backward=into[1],
        conv_into=into[2],
    )
    return {name: rows.view(n, -1, rows.shape[1]) for name, rows in found.items() if len(rows)}


def check_steps(steps, dtype: torch.dtype, count: int):
    for seed, case in enumerate(cases(count)):
        n, size, k, c, bad, image = case
        clean, got = (results(steps, (n, *size), value, image, c, k, dtype, seed) for value in (None, bad))
        assert_isolated(got, clean, image, case)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_steps(dtype, every_variant):
    check_steps(native.steps_of(dtype), dtype, 60 if dtype == torch.float32 else 10)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_plain_steps(dtype):
    check_steps(plain, dtype, 12)


def test_pooling_keeps_nan(every_variant):
    """As torch's does, wherever in its window the NaN is."""
    for pixel in range(9):
        x, image = torch.randn(9, 3), torch.randn(1, 3, 12, 12)
        x[pixel] = float('nan')
        ones, zeros = torch.ones(3), torch.zeros(3)
        got = float32_steps.norm_relu_max_pool(x, ones, zeros, (1, 3, 3))
        assert torch.equal(got.isnan(), plain.norm_relu_max_pool(x, ones, zeros, (1, 3, 3)).isnan())
        image[0, 0, 0, pixel] = float('nan')
        weight = torch.randn(3, 3, 7, 7)
        want = torch.nn.functional.conv2d(image, weight, stride=2, padding=3).relu()
        want = torch.nn.functional.max_pool2d(want, 3, 2, 1).isnan().permute(0, 2, 3, 1).reshape(-1, 3)
        assert torch.equal(float32_steps.evaluate_stem(image, weight, ones, zeros).isnan(), want)
