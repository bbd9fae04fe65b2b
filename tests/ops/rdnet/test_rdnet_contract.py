"""What the buffered stage refuses is computed with concatenation, and says why."""

import pytest
import torch
from helpers import assert_same
from support.rdnet_stages import CHANNELS
from torch import nn

from mmdensenet import ops


def approximately(stage):
    stage.blocks[1].act = nn.ReLU()


def strided(stage):
    stage.blocks[0].dwconv.padding_mode = 'reflect'


def batch_norm(stage):
    stage.blocks[2].norm = nn.BatchNorm2d(stage.blocks[2].norm.weight.shape[0]).double()


def hook(stage):
    stage.blocks[0].ese.fc.register_forward_hook(lambda *call: None)


def wrapped(stage):
    stage.blocks[0].pwconv1 = nn.Sequential(stage.blocks[0].pwconv1)


@pytest.mark.parametrize(
    ('change', 'reason'),
    [
        (approximately, 'ReLU, not GELU'),
        (strided, 'dwconv is no plain 7x7'),
        (batch_norm, 'BatchNorm2d, not a layer norm'),
        (hook, 'hooks on ese.fc'),
        (wrapped, 'pwconv1 is no plain 1x1'),
    ],
)
def test_what_is_not_buffered_is_computed_with_concatenation(stage, change, reason):
    change(stage)
    x = torch.randn(2, CHANNELS, 4, 4, dtype=torch.float64)
    assert reason in ops.why_not_buffered(x, stage.blocks)
    with pytest.raises(RuntimeError, match=reason):
        stage(x)
    stage.engine = 'auto'
    assert_same(stage.eval()(x), ops.rdnet_stage(x, stage.blocks, [None] * 3))
