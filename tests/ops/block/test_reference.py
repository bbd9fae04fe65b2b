"""The reference block against the paper's equations written out, in float64."""

import copy

import pytest
import torch
import torch.nn.functional as F
from fused_blocks import saved_bytes
from helpers import assert_same, assert_same_state, randomise

from mmdensenet.models import DenseBlock
from mmdensenet.ops.block.reference import as_in_forward


def block(**kwargs):
    settings = dict(num_layers=3, in_channels=5, bn_size=2, growth_rate=4, engine='reference') | kwargs
    return randomise(DenseBlock(**settings).double())


def written_out(x, module):
    """x_l = H_l([x_0, ..., x_{l-1}]), with functional calls only; running statistics are not updated."""

    def norm(x, bn):
        if bn.training:
            return F.batch_norm(x, None, None, bn.weight, bn.bias, True, 0, bn.eps)
        return F.batch_norm(x, bn.running_mean, bn.running_var, bn.weight, bn.bias, False, 0, bn.eps)

    for layer in module.block:
        z = F.relu(norm(x, layer.norm1))
        if layer.norm2 is None:
            new = F.conv2d(z, layer.conv1.weight, padding=1)
        else:
            y = F.relu(norm(F.conv2d(z, layer.conv1.weight), layer.norm2))
            new = F.conv2d(y, layer.conv2.weight, padding=1)
        x = torch.cat([x, new], 1)
    return x


@pytest.mark.parametrize('bottleneck', [True, False])
@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('shape', [(2, 5, 6, 6), (1, 5, 7, 3), (3, 5, 1, 2)])
def test_equals_the_equations(shape, training, bottleneck):
    module = block(bottleneck=bottleneck).train(training)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    out = module(x)
    assert out.shape == (shape[0], 5 + 3 * 4, *shape[2:])
    expected = written_out(x, module)
    assert_same(out, expected)
    assert torch.equal(out[:, :5], x), 'the input comes first, unchanged'

    weight = torch.randn_like(out)
    inputs = [x, *module.parameters()]
    for mine, theirs in zip(torch.autograd.grad(out, inputs, weight), torch.autograd.grad(expected, inputs, weight)):
        assert_same(mine, theirs)


@pytest.mark.parametrize('bottleneck', [True, False])
@pytest.mark.parametrize('frozen', [False, True])
def test_memory_efficient_is_the_same_and_counts_each_batch_once(bottleneck, frozen):
    plain, efficient = (block(bottleneck=bottleneck, memory_efficient=value) for value in (False, True))
    if frozen:
        plain.block[1].norm1.eval()
        efficient.block[1].norm1.eval()
    for step in range(3):
        x = torch.randn(2, 5, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(step))
        weight = torch.randn(2, 17, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(100 + step))
        inputs = [x.clone().requires_grad_(), x.clone().requires_grad_()]
        outs = [module(value) for module, value in zip((plain, efficient), inputs)]
        assert_same(outs[1], outs[0])
        for out in outs:
            out.backward(weight)
        assert_same(inputs[1].grad, inputs[0].grad)
    assert_same_state(efficient, plain)
    assert efficient.block[0].norm1.num_batches_tracked == 3
    assert efficient.block[1].norm1.num_batches_tracked == (0 if frozen else 3)


def test_memory_efficient_stores_less():
    """Without the copies of all features that each layer's norm and activation would save for backward."""

    x = torch.randn(4, 5, 8, 8, dtype=torch.float64, requires_grad=True)
    efficient, plain = (saved_bytes(block(num_layers=8, memory_efficient=on), x) for on in (True, False))
    assert efficient < 0.6 * plain


def test_dropout_comes_last_and_only_in_training():
    module = block(drop_rate=0.5)
    x = torch.randn(4, 5, 8, 8, dtype=torch.float64)
    new = module(x)[:, 5:9]
    dropped = (new == 0).double().mean().item()
    assert 0.4 < dropped < 0.6
    module.eval()
    assert_same(module(x), written_out(x, module))


def test_dropout_after_the_bottleneck():
    """In training each channel of the bottleneck is dropped before its norm, so the statistics see the zeros."""
    module = block(num_layers=1, bottleneck_drop_rate=0.5)
    seen = []
    module.block[0].norm2.register_forward_hook(lambda norm, args, out: seen.append(args[0]))
    x = torch.randn(4, 5, 8, 8, dtype=torch.float64)
    assert (module(x)[:, 5:] != 0).all()
    assert 0.4 < (seen[0] == 0).double().mean().item() < 0.6
    module.eval()
    assert_same(module(x), written_out(x, module))


def test_hooks_on_layers_run():
    seen = []
    module = block()
    module.block[1].register_forward_hook(lambda layer, args, out: seen.append(out.shape))
    module(torch.randn(2, 5, 4, 4, dtype=torch.float64))
    assert seen == [(2, 4, 4, 4)]


def test_as_in_forward_restores_after_an_error():
    norm = torch.nn.BatchNorm2d(3)
    with pytest.raises(RuntimeError), as_in_forward(norm):
        norm(torch.randn(2, 3, 4, 4))
        raise RuntimeError
    assert norm.num_batches_tracked == 0
    assert torch.equal(norm.running_mean, torch.zeros(3))


def test_memory_efficient_recomputes_as_often_as_asked():
    module = block()
    for layer in module.block:
        layer.memory_efficient = True
    out = module(torch.randn(2, 5, 4, 4, dtype=torch.float64, requires_grad=True))
    first, second = (torch.autograd.grad(out.sum(), module.block[1].conv1.weight, retain_graph=True) for _ in range(2))
    assert torch.equal(*first, *second)
    assert module.block[1].norm1.num_batches_tracked == 1


def others_meanwhile(module, x):
    others = {name: (p.detach() * 0.7).requires_grad_() for name, p in module.named_parameters()}
    torch.func.functional_call(module, others, (x,)).square().sum().backward()
    return [p.grad for p in others.values()]


def another_mode_meanwhile(module, x):
    out = module(x)
    module.train(not module.training)
    return torch.autograd.grad(out.square().sum(), list(module.parameters()))


def transformed(module, x):
    return [torch.func.grad(lambda x: module.eval()(x).square().sum())(x)]


def traced(module, x):
    return [trace(module)(x) for trace in (torch.fx.symbolic_trace, lambda m: torch.export.export(m, (x,)).module())]


def compiled(module, x):
    out = torch.compile(module, backend='aot_eager', fullgraph=True)(x)
    return torch.autograd.grad(out.square().sum(), list(module.parameters()))


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('use', [others_meanwhile, another_mode_meanwhile, transformed, traced, compiled])
def test_memory_efficient_gives_the_same_however_it_is_used(use, training):
    module = block(num_layers=2).train(training)
    recomputed = copy.deepcopy(module)
    for layer in recomputed.block:
        layer.memory_efficient = True
    x = torch.randn(2, 5, 4, 4, dtype=torch.float64)
    for actual, expected in zip(use(recomputed, x), use(module, x), strict=True):
        assert_same(actual, expected)


@pytest.mark.parametrize('name', ['norm1.weight', 'norm1.bias', 'conv1.weight'])
def test_memory_efficient_notices_changed_weights(name):
    module = block()
    module.block[1].memory_efficient = True
    out = module(torch.randn(2, 5, 4, 4, dtype=torch.float64))
    with torch.no_grad():
        module.block[1].get_parameter(name).mul_(2)
    with pytest.raises(RuntimeError, match='changed in place between forward and backward, and memory_efficient=True'):
        out.sum().backward()
