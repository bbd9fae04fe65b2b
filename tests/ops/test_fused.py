"""The fused block against the reference and plain autograd, in float64."""

import copy

import pytest
import torch
from helpers import assert_same, assert_same_state, randomise
from torch import nn

from mmdensenet import ops
from mmdensenet.models import DenseBlock, DenseNet
from mmdensenet.ops import plain

SHAPES = [(2, 5, 6, 6), (1, 5, 7, 3), (3, 5, 1, 2), (2, 5, 9, 11)]


def pair(**kwargs):
    """The same block twice: reference and fused, with random weights, some gammas negative."""
    settings = dict(num_layers=3, in_channels=5, bn_size=2, growth_rate=4) | kwargs
    reference = randomise(DenseBlock(**settings, engine='reference').double())
    fused_block = DenseBlock(**settings, engine='fused').double()
    fused_block.load_state_dict(reference.state_dict())
    return reference, fused_block


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize('chunk', [1, 2**22], ids=['many chunks', 'one chunk'])
@pytest.mark.parametrize('bottleneck', [True, False], ids=['bottleneck', 'plain'])
@pytest.mark.parametrize('channels_last', [False, True])
@pytest.mark.parametrize('shape', SHAPES, ids=str)
def test_outputs_gradients_and_statistics_over_steps(shape, channels_last, bottleneck, chunk, monkeypatch):
    monkeypatch.setattr(plain, 'CHUNK_BYTES', chunk)
    blocks = pair(bottleneck=bottleneck)
    for step in range(3):
        x, weight = random(*shape, seed=step), random(shape[0], 17, *shape[2:], seed=10 + step)
        if channels_last:
            x = x.to(memory_format=torch.channels_last)
        inputs = [x.clone().requires_grad_() for _ in blocks]
        outs = [block(value) for block, value in zip(blocks, inputs)]
        assert_same(outs[1], outs[0])
        for out in outs:
            (out * weight).sum().backward()
        assert_same(inputs[1].grad, inputs[0].grad, name='input')
    assert_same_state(blocks[1], blocks[0])
    assert blocks[1].block[2].norm1.num_batches_tracked == 3


@pytest.mark.parametrize('shape', SHAPES, ids=str)
def test_evaluation(shape):
    reference, fused_block = (block.eval() for block in pair())
    with torch.no_grad():
        assert_same(fused_block(random(*shape)), reference(random(*shape)))
    assert_same_state(fused_block, reference)


def test_gradcheck_with_dropout():
    """With the same random numbers in each call the block is one smooth function almost everywhere."""
    _, block = pair(num_layers=2, in_channels=3, growth_rate=2, drop_rate=0.3)

    def function(x, *parameters):
        torch.manual_seed(0)
        names = dict(zip(dict(block.named_parameters()), parameters))
        return torch.func.functional_call(block, names, x)

    x = random(2, 3, 3, 2).requires_grad_()
    assert torch.autograd.gradcheck(function, (x, *block.parameters()), atol=1e-7)


def test_dropout_drops_and_rescales():
    _, block = pair(drop_rate=0.5)
    x = random(4, 5, 16, 16)
    new = block(x)[:, 5:9]
    block.block[0].drop_rate = 0.0
    whole = block(x)[:, 5:9]
    kept = new != 0
    assert 0.45 < kept.double().mean() < 0.55
    assert_same(new[kept], 2 * whole[kept])


def test_twice_differentiated_names_the_way_out():
    _, block = pair()
    x = random(2, 5, 4, 4).requires_grad_()
    with pytest.raises(RuntimeError, match="engine='reference'"):
        torch.autograd.grad(block(x).sum(), x, create_graph=True)


def test_memory_is_linear_in_depth():
    """Bytes kept for backward: one buffer and the bottlenecks, against copies of all earlier features per layer."""

    def kept(engine, depth):
        block = DenseBlock(depth, 8, 2, 4, engine=engine)
        storages = {}

        def pack(tensor):
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            out = block(torch.randn(2, 8, 16, 16, requires_grad=True))
        return sum(storages.values()), out

    (ref8, _), (ref32, _) = kept('reference', 8), kept('reference', 32)
    (fused8, _), (fused32, _) = kept('fused', 8), kept('fused', 32)
    assert fused32 < 5 * fused8 and ref32 > 8 * ref8
    assert fused32 < 0.2 * ref32


def hook(block):
    block.block[1].norm1.register_forward_hook(lambda *_: None)


@pytest.mark.parametrize(
    ('change', 'reason'),
    [
        (lambda b: setattr(b.block[1], 'act', nn.LeakyReLU()), 'the activation is LeakyReLU'),
        (lambda b: setattr(b.block[1], 'norm2', nn.GroupNorm(1, 8).double()), 'the norm is GroupNorm'),
        (lambda b: b.block[1].norm1.eval(), 'some norms are in training'),
        (lambda b: setattr(b.block[1].norm1, 'eps', 1e-3), 'different eps'),
        (lambda b: b.eval(), 'gradients are asked for'),
        (hook, 'hooks on inner modules'),
    ],
    ids=lambda value: value if isinstance(value, str) else '',
)
def test_where_it_does_not_apply_the_reference_runs(change, reason):
    reference, block = pair()
    change(block)
    change(reference)
    x = random(2, 5, 4, 4)
    with pytest.raises(RuntimeError, match=f"engine='fused'.*{reason}"):
        block(x)
    block.engine = 'auto'
    assert_same(block(x), reference(x), 0)


@pytest.mark.parametrize(
    'make', [lambda x: x.float().bfloat16(), lambda x: x[:1, :, :1, :1]], ids=['bfloat16', 'one value']
)
def test_inputs_to_which_it_does_not_apply(make):
    _, block = pair()
    assert ops.why_not_fused(make(random(2, 5, 4, 4)), block.block) is not None


def test_autocast_takes_the_reference():
    block = DenseBlock(2, 5, 2, 4, engine='auto')
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert 'float32 and float64' in ops.why_not_fused(torch.randn(2, 5, 4, 4), block.block)
        block(torch.randn(2, 5, 4, 4)).sum().backward()


@pytest.mark.parametrize('memory_efficient', [False, True])
def test_whole_network_after_three_steps(memory_efficient):
    """Weights and every statistic of DenseNet-121, reference and fused, from the same start."""
    torch.manual_seed(0)
    arch = dict(growth_rate=8, depths=[3, 4, 3], init_channels=16)
    models = [
        DenseNet(arch, engine=engine, memory_efficient=memory_efficient).double() for engine in ('reference', 'fused')
    ]
    models[1].load_state_dict(copy.deepcopy(models[0].state_dict()))
    for model in models:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        for step in range(3):
            optimizer.zero_grad()
            (model(random(2, 3, 64, 64, seed=step))[0] * random(2, 32, 4, 4, seed=9).abs()[:, :1]).mean().backward()
            optimizer.step()
    assert_same_state(models[1], models[0], 1e-9)


def test_tracing_and_export_go_through_the_reference():
    model = DenseNet(dict(growth_rate=4, depths=[2, 2], init_channels=8), engine='auto').eval()
    x = torch.randn(1, 3, 32, 32)
    traced = torch.jit.trace(model, x)
    assert_same(traced(x)[0], model(x)[0].detach(), 1e-5)


def test_unknown_engine():
    with pytest.raises(ValueError, match="choose 'auto', 'fused' or 'reference'"):
        DenseNet(engine='fast')


def test_compiled_whole_network_runs():
    model = DenseNet(dict(growth_rate=4, depths=[2, 2], init_channels=8), engine='auto')
    x = torch.randn(2, 3, 32, 32)
    torch.compile(model, backend='eager')(x)[0].sum().backward()
    assert model.stem[0].weight.grad is not None


def test_float32_errs_no_more_than_twice_as_much_as_the_reference():
    """Against float64; features whose mean is far from zero, as behind a ReLU."""
    blocks = pair(num_layers=6, in_channels=16, growth_rate=8)
    x, weight = random(4, 16, 14, 14) + 10, random(4, 64, 14, 14, seed=1)

    def results(block, dtype):
        value = x.to(dtype, copy=True).requires_grad_()
        out = block.to(dtype)(value)
        out.backward(weight.to(dtype))
        gradients = [p.grad.double() for p in block.parameters()]
        block.zero_grad()
        return [out.detach().double(), value.grad.double(), *gradients]

    exact = results(blocks[0], torch.float64)
    # the root mean square over output and gradients; a single small gradient's rounding is chance
    errors = []
    for block in blocks:
        relative = [
            ((got - want).norm() / want.norm()).item() for got, want in zip(results(block, torch.float32), exact)
        ]
        errors.append((sum(e * e for e in relative) / len(relative)) ** 0.5)
    assert errors[1] <= 2 * errors[0], errors
