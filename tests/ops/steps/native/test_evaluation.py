"""A whole stage and the stem in evaluation: no image sees another, and every tensor is checked."""

import pytest
import torch
from isolation import assert_isolated, cases
from step_checks import without_storage
from torch import Tensor

from mmdensenet.ops.rows import Shape
from mmdensenet.ops.steps.native import float32_steps

SHAPE = (2, 3, 4)


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


def stage_arguments() -> tuple:
    def norm(channels):
        return [torch.rand(channels) + 0.1 for _ in range(4)]

    layers = [[*norm(c), torch.randn(8, c, 1, 1), *norm(8), torch.randn(2, 8, 3, 3)] for c in (3, 5)]
    return torch.randn(24, 3), layers, [*norm(7), torch.randn(4, 7, 1, 1)]


@pytest.mark.parametrize('place', range(15))
def test_stage_refuses_each_tensor(place, native_kernels):
    """Of the stage's pointer list each one: of another size, on the meta device, without its memory."""
    # the transition's weight says itself how many channels it makes
    shorter = (lambda t: t[:, 1:]) if place == 14 else (lambda t: t[1:])
    for change in (shorter, lambda t: t.to('meta'), without_storage):
        x, layers, transition = stage_arguments()
        tensors = layers[1] if place < 10 else transition
        tensors[place % 10] = change(tensors[place % 10])
        with pytest.raises(ValueError, match=r'^(norm1|conv1|norm2|conv2|transition)'):
            float32_steps.evaluate_stage(x, SHAPE, layers, transition, 1e-5, True)
    x, layers, transition = stage_arguments()
    for wrong_x, shape in ((x[1:], SHAPE), (x, (2, 4, 4)), (x.to('meta'), SHAPE)):
        with pytest.raises(ValueError, match=r'^x: '):
            float32_steps.evaluate_stage(wrong_x, shape, layers, transition, 1e-5, True)
