"""No image of a batch sees another: NaN, infinities or 1e30 in one change nothing in the others, to the last bit."""

import random
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from mmdensenet.ops.rows import Shape
from mmdensenet.ops.steps import native
from mmdensenet.ops.steps.native import float32_steps
from mmdensenet.ops.steps.plain import plain_steps as plain

BAD = (float('nan'), float('inf'), float('-inf'), 1e30)


def cases(count: int) -> Iterator[tuple]:
    """Batch sizes 1 to 9, sizes 1 to 65, growth rates 4 to 48, and widths that end inside a block of 16 channels."""
    draw = random.Random(0)
    # the size of the block's last maps of 64x64 images, where a batch of two is one tile of rows
    yield 2, (4, 4), 12, 16, BAD[0], 0
    yield 2, (2, 2), 8, 16, BAD[0], 0
    for _ in range(count):  # several images in the last, lower tile of a product and in the one before
        n = draw.randint(4, 9)
        yield n, draw.choice([(1, 1), (2, 1), (1, 3)]), draw.choice([5, 6, 7, 9]), 17, BAD[0], draw.randrange(n - 1)
    for i in range(count):
        n = 1 + i % 9
        size = draw.choice([(1, 1), (2, 2), (3, 2), (4, 4), (5, 7), (8, 8), (9, 11), (16, 15), (7, 33)])
        if i % 20 == 0:
            size = (draw.choice([33, 65]), 65)
        yield n, size, draw.choice([4, 5, 8, 12, 16, 24, 32, 48]), draw.randrange(1, 60), BAD[i % 4], draw.randrange(n)


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


def assert_isolated(got: dict, clean: dict, image: int, case: tuple):
    for name, value in got.items():
        others = [i for i in range(len(value)) if i != image]
        assert torch.equal(value[others], clean[name][others]), f'{name} of {case}'
        assert clean[name].isfinite().all(), f'{name} of {case}'


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


def stage(c0: int, k: int, depth: int, reduced: int) -> tuple[list, list]:
    """Random tensors of ``evaluate_stage``."""

    def norm(channels: int) -> list[Tensor]:
        return [*torch.randn(3, channels), torch.rand(channels) + 0.1]

    layers = [
        [*norm(c), torch.randn(4 * k, c, 1, 1), *norm(4 * k), torch.randn(k, 4 * k, 3, 3) / k]
        for c in range(c0, c0 + depth * k, k)
    ]
    channels = c0 + depth * k
    return layers, [*norm(channels), torch.randn(reduced, channels, 1, 1)]


def stage_results(x: Tensor, shape: Shape, layers: list, transition: list) -> dict:
    found = zip(('features', 'out'), float32_steps.evaluate_stage(x, shape, layers, transition, 1e-5, True))
    return {name: rows.view(shape[0], -1, rows.shape[1]) for name, rows in found if len(rows)}


def test_stage(every_variant):
    for seed, case in enumerate(cases(60)):
        n, (h, w), k, c, bad, image = case
        torch.manual_seed(seed)
        layers, transition = stage(c, k, 2, 5)
        x = torch.randn(n * h * w, c)

        clean = stage_results(x, (n, h, w), layers, transition)
        x.view(n, h * w, c)[image, seed % (h * w), seed % c] = bad
        assert_isolated(stage_results(x, (n, h, w), layers, transition), clean, image, case)


def test_stem(every_variant):
    for seed, (n, (h, w), _, _, bad, image) in enumerate(cases(12)):
        torch.manual_seed(seed)
        channels, width = 1 + seed % 3, 5 + 9 * (seed % 4)
        x, weight, scale, shift = (
            torch.randn(*size) for size in ((n, channels, h, w), (width, channels, 7, 7), (width,), (width,))
        )
        clean = float32_steps.evaluate_stem(x, weight, scale, shift)
        x[image, 0, seed % h, seed % w] = bad
        got = float32_steps.evaluate_stem(x, weight, scale, shift)
        rows = {'stem': got.view(n, -1, width)}
        assert_isolated(rows, {'stem': clean.view(n, -1, width)}, image, (n, h, w, bad, image))


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
