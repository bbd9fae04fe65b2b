"""The block in evaluation without gradients, in plain torch and with kernels."""

import pytest
import torch
from fused_blocks import SHAPES, pair, random
from helpers import assert_same, assert_same_state, randomise
from torch import nn

from mmdensenet.models import DenseNet, DenseTransition


@pytest.mark.parametrize('shape', SHAPES, ids=str)
def test_evaluation(shape):
    reference, fused_block = (block.eval() for block in pair())
    with torch.no_grad():
        assert_same(fused_block(random(*shape)), reference(random(*shape)))
    assert_same_state(fused_block, reference)


@pytest.mark.parametrize('layout', [torch.channels_last, torch.contiguous_format], ids=['channels_last', 'NCHW'])
@pytest.mark.parametrize('shape', [(3, 5, 150, 140), (2, 5, 2, 9), (4, 5, 1, 1)], ids=str)
def test_evaluation_with_kernels(shape, layout, native_kernels, monkeypatch):
    """More images than are computed at a time; images too small for Winograd's tiles."""
    monkeypatch.setenv('MMDENSENET_KERNELS', 'native')
    reference, block = (each.eval() for each in pair(bn_size=4))
    transition = randomise(DenseTransition(17, 6).double()).eval()
    x = random(*shape)
    single = nn.ModuleList([block, transition]).float().to(memory_format=layout)
    with torch.no_grad():
        got = block(x.float().to(memory_format=layout))
        wanted = reference(x)
        assert_same(got.double(), wanted, 1e-5)
        if min(shape[2:]) < 2:
            return
        features, out = block.with_transition(x.float(), single[1], keep_features=True)
        only = block.with_transition(x.float(), single[1])
        assert_same(features, got, 1e-6)
        assert only[0] is None
        assert_same(only[1], out, 0)
        assert_same(out.double(), transition.double()(wanted), 1e-5)


@pytest.mark.parametrize('kernels', ['plain', 'native'])
def test_evaluation_of_no_images(kernels, native_kernels, monkeypatch):
    monkeypatch.setenv('MMDENSENET_KERNELS', kernels)
    model = DenseNet(dict(growth_rate=4, depths=[2, 2], init_channels=8)).eval()
    with torch.no_grad():
        assert model(torch.zeros(0, 3, 64, 32))[-1].shape == (0, model.out_channels[-1], 8, 4)
