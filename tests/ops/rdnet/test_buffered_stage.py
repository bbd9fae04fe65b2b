"""The buffered stage of RDNet beside the one that concatenates, in float64: results and every gradient."""

import copy

import pytest
import torch
from helpers import assert_same, randomise
from support import rdnet_uses
from support.model_steps import step
from support.rdnet_stages import CHANNELS, both

from mmdensenet.models import RDNet


@pytest.mark.parametrize('memory_efficient', [False, True], ids=['kept', 'recomputed'])
@pytest.mark.parametrize(
    ('stage', 'training', 'shape'),
    [
        ((True, True), True, (3, 5, 7)),
        ((False, True), True, (2, 1, 1)),
        ((True, False), False, (1, 4, 3)),
        ((False, False), True, (2, 8, 8)),
    ],
    indirect=['stage'],
)
def test_same_results_and_gradients(stage, training, shape, memory_efficient):
    n, h, w = shape
    x = torch.randn(n, CHANNELS, h, w, dtype=torch.float64)
    (out, grad, own), (expected, expected_grad, theirs) = both(stage.train(training), x, memory_efficient)
    assert_same(out, expected)
    assert_same(grad, expected_grad)
    for (name, parameter), other in zip(own.named_parameters(), theirs.parameters()):
        assert_same(parameter.grad, other.grad, name=name)
    with torch.no_grad():
        assert_same(own.eval()(x), theirs.eval()(x))


@pytest.mark.parametrize('memory_efficient', [False, True])
def test_frozen_parameters_and_inputs_without_gradient(stage, memory_efficient):
    for parameter in (*stage.blocks[0].parameters(), stage.blocks[1].pwconv2.bias, stage.blocks[2].norm.weight):
        parameter.requires_grad_(False)
    (_, _, own), (_, _, theirs) = both(stage, torch.randn(2, CHANNELS, 4, 4, dtype=torch.float64), memory_efficient)
    for (name, parameter), other in zip(own.named_parameters(), theirs.parameters()):
        assert (parameter.grad is None) == (other.grad is None) == (not parameter.requires_grad), name
        if parameter.grad is not None:
            assert_same(parameter.grad, other.grad, name=name)
    stage.memory_efficient = memory_efficient
    stage(torch.randn(2, CHANNELS, 4, 4, dtype=torch.float64)).sum().backward()


@pytest.mark.parametrize('memory_efficient', [False, True], ids=['kept', 'recomputed'])
def test_under_autocast_no_further_from_the_truth_than_the_reference(stage, memory_efficient):
    """bfloat16, also with backward inside autocast after an evaluation whose casts of the weights have no gradients."""
    truth = copy.deepcopy(stage)
    x = torch.randn(4, CHANNELS, 8, 8, dtype=torch.float64)
    (expected, grad, _), _ = both(truth.eval(), x)
    errors = {}
    for engine in ('fused', 'reference'):
        own = copy.deepcopy(stage).float().eval()
        own.engine, own.memory_efficient = engine, memory_efficient
        leaf = x.float().requires_grad_()
        with torch.autocast('cpu', torch.bfloat16):
            if engine == 'fused' and memory_efficient:
                with torch.no_grad():
                    own(leaf)
            out = own(leaf)
            torch.manual_seed(1)
            out.backward(torch.randn(out.shape, dtype=torch.float64).to(out.dtype))
        assert all(parameter.grad is not None for parameter in own.parameters())
        assert out.dtype == torch.float32, 'gamma makes it so in both'
        errors[engine] = [(out - expected).abs().mean(), (leaf.grad - grad).abs().mean()]
    for ours, theirs in zip(errors['fused'], errors['reference']):
        assert 0 < ours < 1.5 * theirs


def network():
    arch = dict(growth_rates=(8, 12), downsample=(1,), init_channels=16, ese=(False, True))
    return randomise(RDNet(arch, out_indices=(0, 1), drop_path_rate=0.3, layer_scale_init_value=1)).double().train()


NETWORK = network()
IMAGES = torch.randn(2, 3, 32, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def outcome(engine, change, use):
    """The tensors that it gives, or the kind of its error."""
    model = copy.deepcopy(NETWORK)
    for stage in model.stages:
        stage.engine = engine
    torch.manual_seed(0)
    try:
        change(model)
        return use(model, IMAGES.clone().requires_grad_())
    except Exception as error:
        return type(error)


def assert_auto_is_the_reference(change=lambda model: None, use=step):
    expected, actual = (outcome(engine, change, use) for engine in ('reference', 'auto'))
    if isinstance(expected, type) or isinstance(actual, type):
        assert actual is expected
        return
    # a gradient that is zero in theory is rounding alone
    least = 1e-6 * max(value.abs().max() for value in expected if isinstance(value, torch.Tensor))
    for i, (ours, theirs) in enumerate(zip(actual, expected, strict=True)):
        if isinstance(theirs, torch.Tensor) and theirs.abs().max() > least:
            assert_same(ours, theirs, 1e-8, str(i))
        elif isinstance(theirs, torch.Tensor):
            assert (ours - theirs).abs().max() <= 1e-8 * least
        else:
            assert ours == theirs


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('change', rdnet_uses.CHANGES)
def test_auto_is_the_reference_whatever_is_changed(change):
    assert_auto_is_the_reference(rdnet_uses.CHANGES[change])


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('use', rdnet_uses.USES)
def test_auto_is_the_reference_however_it_is_used(use):
    assert_auto_is_the_reference(use=rdnet_uses.USES[use])
    if not use.startswith('data_'):  # what changes unseen is read once more by the recomputation
        assert_auto_is_the_reference(rdnet_uses.recompute, rdnet_uses.USES[use])
