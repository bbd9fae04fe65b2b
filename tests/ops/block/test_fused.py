"""The fused block against the reference and plain autograd, in float64."""

import copy

import pytest
import torch
from fused_blocks import SHAPES, pair, random
from helpers import TOLERANCE, assert_same, assert_same_state, randomise
from torch import nn

from mmdensenet import ops
from mmdensenet.models import DenseBlock, DenseNet, DenseTransition
from mmdensenet.ops.steps import passes, steps_for


@pytest.mark.parametrize('chunk', [1, 2**22], ids=['many chunks', 'one chunk'])
@pytest.mark.parametrize('bottleneck', [True, False], ids=['bottleneck', 'plain'])
@pytest.mark.parametrize('channels_last', [False, True])
@pytest.mark.parametrize('shape', SHAPES, ids=str)
def test_outputs_gradients_and_statistics_over_steps(shape, channels_last, bottleneck, chunk, monkeypatch):
    monkeypatch.setattr(passes, 'CHUNK_BYTES', chunk)
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


def test_gradcheck_with_dropout():
    """With the same random numbers in each call the block is one smooth function almost everywhere."""
    _, block = pair(num_layers=2, in_channels=3, growth_rate=2, drop_rate=0.3, bottleneck_drop_rate=0.4)

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
        for norm in both.modules():
            if isinstance(norm, nn.BatchNorm2d) and norm_eval:
                norm.eval()
        torch.manual_seed(1)
        outs.append(both(x))
        (outs[-1] * random(2, 17, 7, 6, seed=1).to(dtype)).sum().backward()
    assert 0.2 < (outs[1][:, 5:] == 0).double().mean() < 0.4
    assert_same(outs[0], outs[1], tolerance)
    assert_same(inputs[0].grad, inputs[1].grad, tolerance)
    assert_same_state(block, reference, tolerance)


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


def test_one_value_per_channel_is_the_references_error():
    _, block = pair(engine='auto')
    with pytest.raises(ValueError, match='more than 1 value per channel'):
        block(random(1, 5, 1, 1))


@pytest.mark.parametrize('bottleneck', [True, False], ids=['bottleneck', 'plain'])
def test_norms_in_evaluation_mode_while_training(bottleneck):
    """norm_eval and frozen statistics: gradients flow, running statistics stay."""
    blocks = pair(bottleneck=bottleneck)
    for block in blocks:
        for module in block.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
    x, weight = random(2, 5, 6, 5), random(2, 17, 6, 5, seed=1)
    inputs = [x.clone().requires_grad_() for _ in blocks]
    outs = [block(value) for block, value in zip(blocks, inputs)]
    assert_same(outs[1], outs[0])
    for out in outs:
        (out * weight).sum().backward()
    assert_same(inputs[1].grad, inputs[0].grad, name='input')
    assert_same_state(blocks[1], blocks[0])


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


def test_a_transition_with_hooks_or_other_parts_is_called():
    _, block = pair()
    transition, seen = DenseTransition(17, 6).double(), []
    x = random(2, 5, 6, 6)
    assert ops.plan_stage(x, block.block, transition).reason is None
    handle = transition.register_forward_hook(lambda *_: seen.append(1))
    block.with_transition(x, transition)
    assert seen
    handle.remove()
    transition.pool = nn.MaxPool2d(2)
    assert ops.plan_stage(x, block.block, transition).reason


def test_a_transition_with_dropout_is_fused_in_evaluation_only():
    """Dropout between convolution and pooling forbids to pool first."""
    _, block = pair()
    transition = randomise(DenseTransition(17, 6, drop_rate=0.5).double())
    x = random(2, 5, 8, 6)
    assert ops.plan_stage(x, block.block, transition).reason
    _, out = block.with_transition(x, transition)
    assert out.shape == (2, 6, 4, 3)
    block.eval(), transition.eval()
    assert ops.plan_stage(x, block.block, transition).reason is None
    with torch.no_grad():
        assert_same(block.with_transition(x, transition)[1], transition(block(x)))


@pytest.mark.parametrize('drop_rate', [0.0, 0.3])
@pytest.mark.parametrize('bottleneck', [True, False], ids=['bottleneck', 'plain'])
@pytest.mark.parametrize('autocast', [True, False], ids=['autocast', 'bfloat16'])
@pytest.mark.parametrize('kernels', ['plain', 'native'])
def test_low_precision_errs_no_more_than_twice_as_much(
    kernels, autocast, bottleneck, drop_rate, native_kernels, monkeypatch
):
    """bfloat16 against float64, beside plain torch in bfloat16: outputs, gradients and running statistics."""
    monkeypatch.setenv('MMDENSENET_KERNELS', 'auto')
    settings = dict(num_layers=6, in_channels=16, growth_rate=8, bn_size=4, bottleneck=bottleneck)
    reference, fused_block = pair(**settings)
    x, weight = random(4, 16, 10, 9) + 2, random(4, 64, 10, 9, seed=1)

    def results(block, dtype, engine):
        if dtype == torch.bfloat16:  # float64 is for plain torch alone
            monkeypatch.setenv('MMDENSENET_KERNELS', kernels)
        block = copy.deepcopy(block).to(dtype if not autocast else torch.promote_types(dtype, torch.float32))
        block.engine = engine
        value = x.to(next(block.parameters()).dtype, copy=True).requires_grad_()
        with torch.autocast('cpu', dtype=torch.bfloat16, enabled=autocast and dtype == torch.bfloat16):
            # the first convolution of a network would have made it bfloat16
            out = block(value.to(dtype) if autocast else value)
        assert out.dtype == dtype
        out.backward(weight.to(dtype))
        gradients = [p.grad.double() for p in block.parameters()]
        running = [b.double() for name, b in block.named_buffers() if 'running' in name]
        return [out.detach().double(), value.grad.double(), *gradients, *running]

    exact = results(reference, torch.float64, 'reference')
    errors = []
    for engine in ('reference', 'fused'):
        got = results(reference, torch.bfloat16, engine)
        relative = [((a - b).norm() / b.norm()).item() for a, b in zip(got, exact)]
        errors.append((sum(e * e for e in relative) / len(relative)) ** 0.5)
    assert errors[1] <= 2 * errors[0], errors
    if drop_rate:  # random: that it runs and trains in this type is all that can be compared
        fused_block.block[0].drop_rate = fused_block.block[1].bottleneck_drop_rate = drop_rate
        assert results(fused_block, torch.bfloat16, 'fused')[0].isfinite().all()


def test_weights_of_another_type_are_the_references_business():
    _, block = pair(engine='auto')
    assert 'different types' in ops.why_not_fused(random(2, 5, 4, 4).float(), block.block)


def test_accumulated_gradients_and_frozen_weights():
    blocks = pair()
    for block in blocks:
        block.block[1].conv1.weight.requires_grad_(False)
        block.block[0].norm2.requires_grad_(False)
        for step in range(2):
            block(random(2, 5, 4, 4, seed=step)).square().sum().backward()
    assert_same_state(blocks[1], blocks[0])


def test_features_may_be_changed_in_place():
    """The reference keeps nothing of what it returns, and neither does the fused block."""
    blocks, inputs = pair(), [random(2, 5, 4, 4).requires_grad_() for _ in range(2)]
    for block, x in zip(blocks, inputs):
        block(x).mul_(2).relu_().sum().backward()
    assert_same(inputs[1].grad, inputs[0].grad)
    assert_same_state(blocks[1], blocks[0])


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
        for norm in both.modules():
            if isinstance(norm, nn.BatchNorm2d) and norm_eval:
                norm.eval()
        features, out = both[0].with_transition(x, both[1], keep_features=True)
        (out.sum() + (features * random(2, 21, 7, 6, seed=3).to(x.dtype)).sum()).backward()
    assert_same(inputs[1].grad.double(), inputs[0].grad, 1e-4)
    assert_same_state(modules[1].double(), modules[0], 1e-4)
    with torch.no_grad():
        wanted = modules[0].eval()[0].with_transition(inputs[0], modules[0][1])[1]
        got = modules[1].float().eval()[0].with_transition(inputs[1], modules[1][1])[1]
    assert_same(got.double(), wanted, 1e-5)


def test_torch_func_transforms_take_the_reference():
    _, block = pair(engine='auto')
    x = random(2, 5, 4, 4)
    block.requires_grad_(False)
    gradient = torch.func.grad(lambda value: block.eval()(value).square().sum())(x)
    y = x.clone().requires_grad_()
    block(y).square().sum().backward()
    assert_same(gradient, y.grad)


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
    with torch.no_grad():
        assert_same(torch.jit.trace(model, x)(x)[0], model(x)[0], 1e-5)
        assert_same(torch.export.export(model, (x,)).module()(x)[0], model(x)[0], 1e-5)


@pytest.mark.parametrize('training', [True, False])
def test_compiled_in_one_graph(training):
    model = DenseNet(dict(growth_rate=4, depths=[2, 2], init_channels=8), engine='auto').double().train(training)
    compiled = copy.deepcopy(model)
    x = random(2, 3, 32, 32)
    for call in (model, torch.compile(compiled, backend='aot_eager', fullgraph=True)):
        (out,) = call(x)
        (out * random(*out.shape, seed=1)).sum().backward()
    assert_same_state(compiled, model, 1e-9)


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


def test_twin_training_on_digits():
    """30 steps of both engines from the same start on the same batches: the losses agree."""
    from sklearn.datasets import load_digits

    images = torch.tensor(load_digits().images[: 30 * 16] / 16.0).unsqueeze(1)
    labels = torch.tensor(load_digits().target[: 30 * 16])
    losses = []
    for engine in ('reference', 'fused'):
        torch.manual_seed(0)
        arch = dict(growth_rate=8, depths=[3, 3], init_channels=16)
        model = DenseNet(arch, in_channels=1, stem='cifar', engine=engine)
        model.double()
        head = nn.Linear(model.out_channels[-1], 10).double()
        optimizer = torch.optim.SGD([*model.parameters(), *head.parameters()], lr=0.05, momentum=0.9)
        run = []
        for x, y in zip(images.split(16), labels.split(16)):
            loss = nn.functional.cross_entropy(head(model(x)[-1].mean((2, 3))), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            run.append(loss.item())
        losses.append(run)
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)
    assert losses[0][-1] < 0.7 * losses[0][0], 'it learns'
