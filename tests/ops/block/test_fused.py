"""The fused block against the reference and plain autograd, in float64.

Hooks, other modules, transforms, other types, changes in place and accumulated gradients are in test_contract.py.
"""

import copy

import pytest
import torch
from fused_blocks import SHAPES, pair, random, set_norms
from helpers import TOLERANCE, assert_same, assert_same_state, randomise
from pairwise import pairwise
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor

from mmdensenet.models import DenseNet, DenseTransition
from mmdensenet.ops.steps import passes, steps_for


@pytest.mark.parametrize(
    ('shape', 'channels_last', 'bottleneck', 'norm_eval', 'chunk'),
    pairwise(SHAPES, [False, True], [True, False], [False, True], [1, 2**22]),
    ids=str,
)
def test_outputs_gradients_and_statistics_over_steps(shape, channels_last, bottleneck, norm_eval, chunk, monkeypatch):
    """In one chunk of rows and in many; with norm_eval gradients flow and running statistics stay."""
    monkeypatch.setattr(passes, 'CHUNK_BYTES', chunk)
    blocks = pair(bottleneck=bottleneck)
    for step in range(3):
        x, weight = random(*shape, seed=step), random(shape[0], 17, *shape[2:], seed=10 + step)
        if channels_last:
            x = x.to(memory_format=torch.channels_last)
        inputs = [x.clone().requires_grad_() for _ in blocks]
        outs = [set_norms(block, not norm_eval)(value) for block, value in zip(blocks, inputs)]
        assert_same(outs[1], outs[0])
        for out in outs:
            (out * weight).sum().backward()
        assert_same(inputs[1].grad, inputs[0].grad, name='input')
    assert_same_state(blocks[1], blocks[0])
    assert blocks[1].block[2].norm1.num_batches_tracked == (0 if norm_eval else 3)


@pytest.mark.parametrize(
    ('kernels', 'bottleneck', 'norm_eval'),
    [
        ('plain', True, False),
        ('plain', True, True),
        ('plain', False, False),
        ('native', True, False),
        ('triton', True, False),
    ],
)
def test_dropout_after_each_convolution_is_the_references(kernels, bottleneck, norm_eval, monkeypatch, request):
    """The same draws from the same seed, so outputs, gradients and statistics agree."""
    if kernels == 'triton':
        pytest.importorskip('triton')
    elif kernels == 'native':
        request.getfixturevalue('native_kernels')
    monkeypatch.setenv('MMDENSENET_KERNELS', kernels)
    dtype, tolerance = (torch.float64, TOLERANCE) if kernels == 'plain' else (torch.float32, 1e-4)
    reference, block = (both.to(dtype) for both in pair(bottleneck=bottleneck, drop_rate=0.3, bottleneck_drop_rate=0.4))
    outs, inputs = [], [random(2, 5, 7, 6).to(dtype).requires_grad_() for _ in range(2)]
    for both, x in zip((block, reference), inputs):
        set_norms(both, not norm_eval)
        torch.manual_seed(1)
        outs.append(both(x))
        (outs[-1] * random(2, 17, 7, 6, seed=1).to(dtype)).sum().backward()
    assert 0.2 < (outs[1][:, 5:] == 0).double().mean() < 0.4
    assert_same(outs[0], outs[1], tolerance)
    assert_same(inputs[0].grad, inputs[1].grad, tolerance)
    assert_same_state(block, reference, tolerance)


@pytest.mark.parametrize('shape', [(2, 5, 6, 6), (1, 5, 7, 5), (2, 5, 2, 3)], ids=str)
@pytest.mark.parametrize('keep_features', [False, True])
@pytest.mark.parametrize('training', [True, False])
def test_with_a_transition(shape, keep_features, training):
    """One more consumer of the buffer; odd sizes lose a line in the pooling. Two steps, so that statistics move."""
    blocks = pair()
    transitions = [randomise(DenseTransition(17, 6).double()) for _ in blocks]
    for step in range(2):
        inputs = [random(*shape, seed=step).requires_grad_() for _ in blocks]
        for block, transition, x in zip(blocks, transitions, inputs):
            block.train(training)
            transition.train(training)
            features, out = block.with_transition(x, transition, keep_features)
            assert (features is not None) == keep_features
            loss = (out * random(*out.shape, seed=5)).sum()
            if keep_features:
                loss = loss + (features * random(*features.shape, seed=6)).sum()
            loss.backward()
        assert_same(inputs[1].grad, inputs[0].grad, name='input')
    assert_same_state(blocks[1], blocks[0])
    assert_same_state(transitions[1], transitions[0])
    with torch.no_grad():
        got, want = (b.with_transition(random(*shape), t)[1] for b, t in zip(blocks[::-1], transitions[::-1]))
    assert_same(got, want)


@pytest.mark.parametrize('kernels', ['native', 'triton'])
@pytest.mark.parametrize('bottleneck', [True, False], ids=['bottleneck', 'plain'])
@pytest.mark.parametrize('norm_eval', [False, True])
def test_other_kernels(kernels, bottleneck, norm_eval, monkeypatch, request):
    """The whole block and its transition in float32 through the C++ kernels, and through Triton's interpreter."""
    if kernels == 'triton':
        pytest.importorskip('triton')
    else:
        request.getfixturevalue('native_kernels')
    monkeypatch.setenv('MMDENSENET_KERNELS', kernels)
    assert steps_for(torch.zeros(1), torch.float32).name == kernels
    reference, block = pair(bottleneck=bottleneck, num_layers=2, growth_rate=8, drop_rate=0.0)
    transitions = [randomise(DenseTransition(21, 6).double()) for _ in range(2)]
    block.float()
    transitions[1].float()
    modules = [nn.ModuleList(both) for both in zip((reference, block), transitions)]
    inputs = [random(2, 5, 7, 6).requires_grad_(), random(2, 5, 7, 6).float().requires_grad_()]
    for both, x in zip(modules, inputs):
        set_norms(both, not norm_eval)
        features, out = both[0].with_transition(x, both[1], keep_features=True)
        (out.sum() + (features * random(2, 21, 7, 6, seed=3).to(x.dtype)).sum()).backward()
    assert_same(inputs[1].grad.double(), inputs[0].grad, 1e-4)
    assert_same_state(modules[1].double(), modules[0], 1e-4)
    with torch.no_grad():
        wanted = modules[0].eval()[0].with_transition(inputs[0], modules[0][1])[1]
        got = modules[1].float().eval()[0].with_transition(inputs[1], modules[1][1])[1]
    assert_same(got.double(), wanted, 1e-5)


@pytest.mark.parametrize('memory_efficient', [False, True])
def test_whole_network_after_three_steps(memory_efficient):
    """Weights and every statistic of a small DenseNet, reference and fused, from the same start."""
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
    with torch.no_grad():
        assert_same(torch.jit.trace(model, x)(x)[0], model(x)[0], 1e-5)
        assert_same(torch.export.export(model, (x,)).module()(x)[0], model(x)[0], 1e-5)


@pytest.mark.parametrize('training', [True, False])
def test_traced_by_fx(training):
    model = DenseNet(dict(growth_rate=4, depths=[2, 2], init_channels=8), out_indices=(0, 1)).double().train(training)
    traced = torch.fx.symbolic_trace(copy.deepcopy(model))
    part = create_feature_extractor(copy.deepcopy(model), ['stages.1.block.0.act'])
    x = random(2, 3, 32, 32)
    outs, expected = traced(x), model(x)
    for call in (outs, expected):
        sum((out * random(*out.shape, seed=1)).sum() for out in call).backward()
    for out, other in zip(outs, expected, strict=True):
        assert_same(out, other)
    assert_same_state(traced, model, 1e-9)
    assert part(x)['stages.1.block.0.act'].shape == (2, 8, 4, 4)


@pytest.mark.parametrize('training', [True, False])
def test_compiled_in_one_graph(training):
    model = DenseNet(dict(growth_rate=4, depths=[2, 2], init_channels=8), engine='auto').double().train(training)
    compiled = copy.deepcopy(model)
    x = random(2, 3, 32, 32)
    for call in (model, torch.compile(compiled, backend='aot_eager', fullgraph=True)):
        (out,) = call(x)
        (out * random(*out.shape, seed=1)).sum().backward()
    assert_same_state(compiled, model, 1e-9)


@pytest.mark.slow
def test_densenet121_after_three_steps_beside_mmpretrains():
    """Weights, every running statistic and num_batches_tracked, from the same start, in float64."""
    from mmpretrain.models.backbones import DenseNet as TheirDenseNet

    torch.manual_seed(0)
    theirs = TheirDenseNet('121').double()
    models = [theirs, *(DenseNet('121', engine=engine).double() for engine in ('reference', 'fused'))]
    for model in models:
        model.load_state_dict(theirs.state_dict(), strict=True)
    models = [copy.deepcopy(model) for model in models]
    for model in models:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
        for step in range(3):
            optimizer.zero_grad()
            out = model(random(2, 3, 64, 64, seed=step))[-1]
            (out.mean((2, 3)) * random(2, 1024, seed=9)).sum().backward()
            optimizer.step()
    for model in models[1:]:
        assert_same_state(model, models[0], 1e-8)
    assert models[2].stages[3].block[15].norm2.num_batches_tracked == 3
    # and a checkpoint moves between engines unchanged
    assert list(models[1].state_dict()) == list(models[2].state_dict())
