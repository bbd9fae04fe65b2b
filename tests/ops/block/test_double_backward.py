"""Gradients of a block that are differentiated again are those of the reference; whole networks are in
test_contract.py."""

import copy

import pytest
import torch
from fused_blocks import pair, random
from helpers import assert_same, randomise

from mmdensenet.models import DenseTransition
from mmdensenet.ops.block.double_backward import by_operations, stand_in


def penalty(module, call, x) -> list[torch.Tensor]:
    """Gradients, and those of a sum of their squares."""
    inputs = [x, *module.parameters()]
    loss = sum((out * random(*out.shape, seed=3)).square().sum() for out in call(x))
    first = torch.autograd.grad(loss, inputs, create_graph=True, allow_unused=True)
    second = torch.autograd.grad(
        sum(grad.square().sum() for grad in first if grad is not None), inputs, allow_unused=True
    )
    return [grad for grad in (*first, *second) if grad is not None]


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('bottleneck', [True, False], ids=['bottleneck', 'plain'])
def test_a_block_and_its_transition(bottleneck, training):
    results = []
    for block in pair(bottleneck=bottleneck, num_layers=2):
        both = torch.nn.ModuleList([block, randomise(DenseTransition(13, 6).double())]).train(training)
        statistics = copy.deepcopy(dict(both.named_buffers()))
        call = lambda x, both=both: both[0].with_transition(x, both[1], keep_features=True)  # noqa: E731
        results.append(penalty(both, call, random(2, 5, 4, 5).requires_grad_()))
        moved = [name for name, value in both.named_buffers() if not torch.equal(value, statistics[name])]
        assert bool(moved) == training
        results[-1] += both.buffers()
    assert len(results[0]) == len(results[1]) > 20
    for found, wanted in zip(results[1], results[0]):
        assert_same(found.double(), wanted.double(), 1e-9)


def test_what_asks_for_operations():
    grad = torch.ones(2)
    assert by_operations([grad]), 'where gradients are enabled, as with create_graph'
    with torch.no_grad():
        assert not by_operations([grad, None])
        assert by_operations([grad.as_subclass(type('Sub', (torch.Tensor,), {}))])
    x = torch.randn(2, 3, 4, 5)
    assert stand_in(x).shape == x.shape and stand_in(x).untyped_storage().nbytes() == 4
