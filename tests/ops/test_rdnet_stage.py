"""The buffered stage of RDNet beside the one that concatenates, in float64: results and every gradient."""

import copy

import pytest
import torch
from helpers import assert_same, randomise
from support import rdnet_uses
from support.model_steps import step
from torch import nn

from mmdensenet import ops
from mmdensenet.models import RDNet, RDNetStage

CHANNELS, GROWTH = 8, 16


@pytest.fixture
def stage(request):
    ese, scaled = getattr(request, 'param', (True, True))
    stage = RDNetStage(
        CHANNELS,
        GROWTH,
        [0.0, 0.3, 0.5],
        compress=None,
        bottleneck_ratio=4,
        ese=ese,
        layer_scale_init_value=float(scaled),
        engine='fused',
        memory_efficient=False,
    )
    return randomise(stage.double())


def both(stage, x, memory_efficient=False, seed=0):
    """For both stages: result, gradient of the input, and a copy with those of the parameters."""
    found = []
    for engine in ('fused', 'reference'):
        own, leaf = copy.deepcopy(stage), x.clone().requires_grad_()
        own.engine, own.memory_efficient = engine, memory_efficient
        torch.manual_seed(seed)
        out = own(leaf)
        torch.manual_seed(seed + 1)
        out.backward(torch.randn(out.shape, dtype=out.dtype))  # not randn_like, which draws in the order of memory
        found.append((out, leaf.grad, own))
    return found


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


def test_drop_path_is_drawn_and_scaled(stage):
    x = torch.zeros(4000, CHANNELS, 1, 1, dtype=torch.float64)
    rates = [(mask == 0).double().mean().item() for mask in (stage.train()._mask(x, rate) for rate in (0.3, 0.5))]
    assert rates == pytest.approx([0.3, 0.5], abs=0.04)
    assert stage._mask(x, 0.5).unique().tolist() == [0, 2] and stage._mask(x, 0.0) is None
    assert stage.eval()._mask(x, 0.5) is None


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


@pytest.mark.parametrize('memory_efficient', [False, True])
def test_gradcheck(memory_efficient):
    stage = RDNetStage(
        4, 8, [0.0, 0.0], compress=(8, 2), bottleneck_ratio=1, ese=True, layer_scale_init_value=1,
        engine='fused', memory_efficient=memory_efficient,
    )  # fmt: skip
    x = torch.randn(2, 4, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(randomise(stage.double()), (x,), atol=1e-6)
