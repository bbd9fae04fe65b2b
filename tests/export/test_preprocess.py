"""The preprocessing inside a graph, by hand."""

from dataclasses import replace

import pytest
import torch
from exported_means import ABOUT

from mmdensenet.export.preprocess import Preprocess

PIXELS = torch.arange(2 * 4 * 5 * 3, dtype=torch.uint8).view(2, 4, 5, 3)  # (N, H, W, C)


@pytest.mark.parametrize('order', ['RGB', 'BGR'])
def test_channels_are_in_the_order_of_the_means(order):
    about = replace(ABOUT, order=order, mean=[1.0, 2.0, 3.0], std=[2.0, 4.0, 8.0])
    found = Preprocess(about)(PIXELS)
    assert found.shape == (2, 3, 4, 5) and found.dtype == torch.float32
    for channel in range(3):
        read = PIXELS[..., channel if order == 'RGB' else 2 - channel].float()
        assert torch.equal(found[:, channel], (read - about.mean[channel]) / about.std[channel])


def test_without_means_pixels_stay():
    assert torch.equal(Preprocess(replace(ABOUT, mean=None, std=None))(PIXELS), PIXELS.permute(0, 3, 1, 2).float())
