"""mmdensenet.models.blur_pool against the filter written out."""

import torch
from torch import nn

from mmdensenet.models import BlurPool


def test_it_is_the_binomial_filter_of_reflected_edges():
    x = torch.randn(2, 3, 6, 7, dtype=torch.float64)
    padded = nn.ReflectionPad2d(1)(x)
    lines = (padded[..., :-2, :] + 2 * padded[..., 1:-1, :] + padded[..., 2:, :]) / 4
    blurred = (lines[..., :-2] + 2 * lines[..., 1:-1] + lines[..., 2:]) / 4
    torch.testing.assert_close(BlurPool()(x), blurred[..., ::2, ::2])


def test_a_constant_stays_and_nothing_is_saved():
    pool = BlurPool().half()
    assert torch.equal(pool(torch.full((1, 2, 4, 4), 3.0).half()), torch.full((1, 2, 2, 2), 3.0).half())
    assert not pool.state_dict() and not list(pool.parameters())


def test_a_model_that_was_made_without_memory_has_its_kernel():
    """The state dict has none, so nothing would set it after to_empty, and nothing would say so."""
    with torch.device('meta'):
        pool = nn.Sequential(BlurPool())
    assert torch.equal(pool.to_empty(device='cpu').half()[0].kernel, BlurPool().half().kernel)
