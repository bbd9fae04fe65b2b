"""What a stage of RDNet computes, apart from where its features lie."""

import copy

import pytest
import torch
from helpers import assert_same
from support.rdnet_stages import CHANNELS, GROWTH

from mmdensenet import ops
from mmdensenet.ops.rdnet.rdnet_stage import block_channels, fill_buffer


def test_drop_path_is_drawn_and_scaled(stage):
    x = torch.zeros(4000, CHANNELS, 1, 1, dtype=torch.float64)
    rates = [(mask == 0).double().mean().item() for mask in (stage.train()._mask(x, rate) for rate in (0.3, 0.5))]
    assert rates == pytest.approx([0.3, 0.5], abs=0.04)
    assert stage._mask(x, 0.5).unique().tolist() == [0, 2] and stage._mask(x, 0.0) is None
    assert stage.eval()._mask(x, 0.5) is None


def test_in_float16_a_small_gamma_keeps_its_digits(stage):
    """At most twice the reference's error; the product of gate and gamma would have few digits."""
    for block in stage.blocks:
        block.gamma.data.fill_(1e-6)
        block.ese.fc.weight.data.mul_(0.1)
        block.pwconv2.weight.data.mul_(10)
    stage.half().double()
    x = torch.randn(2, CHANNELS, 6, 6).half().double()
    with torch.no_grad():
        exact = stage.eval()(x)[:, CHANNELS:]
        errors = []
        for engine in ('auto', 'reference'):
            own = copy.deepcopy(stage).half()
            own.engine = engine
            errors.append((own(x.half())[:, CHANNELS:].double() - exact).abs().mean())
    assert ops.why_not_buffered(x, stage.blocks) is None
    assert 0 < errors[0] <= 2 * errors[1]


def test_the_formula_of_a_block_is_its_forward(stage):
    """A block's channels from the C_j features as one tensor; the first block's mask keeps one image of two."""
    x = torch.randn(2, CHANNELS, 5, 4, dtype=torch.float64)
    mask = torch.tensor([0.0, 2.0], dtype=torch.float64).view(2, 1, 1, 1)
    block = stage.eval().blocks[0]
    new = block_channels(x, block, mask)
    assert_same(new, block([x], mask))
    assert not new[0].any() and new[1].any()
    with torch.no_grad():
        buffer = fill_buffer(x, stage.blocks, [mask, None, None], block_channels)
        assert buffer.shape == (2, CHANNELS + 3 * GROWTH, 5, 4)
        assert_same(buffer, ops.rdnet_stage(x, stage.blocks, [mask, None, None]))
