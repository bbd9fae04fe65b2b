"""Backward of the buffered stage: twice, twice differentiated, after changes, and against finite differences."""

import copy

import pytest
import torch
from helpers import assert_same, randomise
from support.rdnet_stages import CHANNELS

from mmdensenet.models import RDNetStage


def test_kept_and_recomputed_graphs_stay_for_a_second_backward(stage):
    for memory_efficient in (False, True):
        stage.memory_efficient = memory_efficient
        x = torch.randn(2, CHANNELS, 4, 4, dtype=torch.float64, requires_grad=True)
        out = stage.eval()(x)
        first = torch.autograd.grad(out.sum(), x, retain_graph=True)[0]
        assert_same(torch.autograd.grad(out.sum(), x)[0], first)
        with pytest.raises(RuntimeError, match='second time'):
            torch.autograd.grad(out.sum(), x)


@pytest.mark.parametrize('stage', [(False, True)], indirect=True)  # torch has no second derivative of eSE's gate
@pytest.mark.parametrize('memory_efficient', [False, True])
def test_second_derivatives_and_hooks(stage, memory_efficient):
    """A gradient penalty on input and weights; the hooks on parameters count once."""
    stage.memory_efficient = memory_efficient
    found = []
    for engine in ('reference', 'fused'):
        own = copy.deepcopy(stage)
        own.engine = engine
        parameters = list(own.parameters())
        for parameter in parameters:
            parameter.register_hook(lambda grad: grad * 0.5)
        x = torch.linspace(-2, 3, 2 * CHANNELS * 20, dtype=torch.float64).sin().view(2, CHANNELS, 4, 5).requires_grad_()
        torch.manual_seed(0)
        loss = own(x).square().mean()
        grads = torch.autograd.grad(loss, [x, *parameters], create_graph=True)
        (loss + sum(grad.square().sum() for grad in grads)).backward()
        found.append([*grads, x.grad, *(parameter.grad for parameter in parameters)])
        own.zero_grad()
        own(x).sum().backward()
        found[-1] += [parameter.grad for parameter in parameters]
    for expected, actual in zip(*found):
        assert_same(actual, expected)


@pytest.mark.parametrize('memory_efficient', [False, True])
def test_weights_changed_before_backward_raise(stage, memory_efficient):
    stage.memory_efficient = memory_efficient
    out = stage(torch.randn(2, CHANNELS, 4, 4, dtype=torch.float64))
    with torch.no_grad():
        stage.blocks[1].pwconv1.weight.mul_(2)
    with pytest.raises(RuntimeError, match='modified by an inplace operation'):
        out.sum().backward()


@pytest.mark.parametrize('memory_efficient', [False, True])
def test_gradcheck(memory_efficient):
    stage = RDNetStage(
        4, 8, [0.0, 0.0], compress=(8, 2), bottleneck_ratio=1, ese=True, layer_scale_init_value=1,
        engine='fused', memory_efficient=memory_efficient,
    )  # fmt: skip
    x = torch.randn(2, 4, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(randomise(stage.double()), (x,), atol=1e-6)
