"""The fused stem against the reference, and the whole stem in one call."""

import copy

import pytest
import torch
from fused_blocks import random
from helpers import assert_same, assert_same_state, randomise

from mmdensenet import ops
from mmdensenet.models import DenseNet


@pytest.mark.parametrize('channels', [3, 1])
@pytest.mark.parametrize('layout', [torch.channels_last, torch.contiguous_format], ids=['channels_last', 'NCHW'])
@pytest.mark.parametrize('size', [(32, 32), (61, 30), (7, 2), (1, 1)], ids=str)
def test_stem_in_evaluation_with_kernels(size, layout, channels, native_kernels, monkeypatch):
    """The whole stem in one call, where the kernels have one; a batch in which threads begin within images."""
    torch.manual_seed(0)
    monkeypatch.setenv('MMDENSENET_KERNELS', 'native')
    model = randomise(DenseNet(dict(growth_rate=4, depths=[1], init_channels=20), in_channels=channels)).eval()
    x = random(3, channels, *size).float().to(memory_format=layout)
    with torch.no_grad():
        got = ops.evaluate_stem(x, model.stem)
        assert_same(model._run_stem(x), got, 0)
        assert_same(got.double(), copy.deepcopy(model.stem).double()(x.double()), 1e-5)
    assert ops.evaluate_stem(x, model.stem) is None, 'gradients are for the other ops'
    model.stem[0].register_forward_hook(lambda *_: None)
    with torch.no_grad():
        assert ops.evaluate_stem(x, model.stem) is None, 'hooks on the parts are served'


@pytest.mark.parametrize('size', [(16, 16), (11, 14), (3, 5)], ids=str)
@pytest.mark.parametrize('training', [True, False])
def test_stem(size, training):
    """Norm, ReLU and max pooling behind the first convolution; gradients in evaluation mode too."""
    torch.manual_seed(0)
    arch = dict(growth_rate=4, depths=[1], init_channels=8)
    models = [randomise(DenseNet(arch, engine=engine)).double().train(training) for engine in ('reference', 'fused')]
    for step in range(2):
        x = random(2, 3, *size, seed=step)
        outs = [model._run_stem(x) for model in models]
        assert_same(outs[1], outs[0])
        for out in outs:
            (out * random(*out.shape, seed=3)).sum().backward()
    assert_same_state(models[1].stem, models[0].stem)
    with torch.no_grad():
        assert_same(models[1]._run_stem(x), models[0]._run_stem(x))
    seen = []
    models[1].stem[3].register_forward_hook(lambda *_: seen.append(1))
    models[1](x)
    assert seen, 'hooks on the parts are served'
