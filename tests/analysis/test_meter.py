"""mmdensenet.analysis.meter on operations whose sums are known."""

import torch
from torch import nn

from mmdensenet.analysis.meter import Meter


def test_multiply_adds_forward_and_backward():
    with torch.device('meta'):
        conv, linear, x = nn.Conv2d(3, 8, 3, bias=False), nn.Linear(8, 5), torch.empty(2, 3, 10, 10)
    with Meter() as meter:
        out = linear(conv(x).mean((2, 3)))
        forward = 2 * 8 * 8 * 8 * 3 * 9 + 2 * 8 * 5
        assert meter.multiply_adds == forward
        out.sum().backward()
    # the images need no gradient; the features and both weights do
    assert meter.multiply_adds == forward + 2 * 8 * 8 * 8 * 3 * 9 + 2 * 2 * 8 * 5


def test_bytes_that_are_alive_and_their_peak():
    before = torch.empty(100, device='meta')
    with Meter() as meter:
        first = before + 1
        assert (meter.live, meter.peak) == (400, 400)
        view = first[:10]
        assert meter.live == 400, 'a view is no new memory, nor is a part of what was there'
        second = before[:50].double()
        assert meter.live == 800
        del first
        assert meter.live == 800, 'the view holds it'
        del view, second
        assert (meter.live, meter.peak) == (0, 800)
