"""Whole networks on a GPU: ``engine='auto'`` against float64, in which it may err twice as much as the reference.

The steps have tests of their own, which run in Triton's interpreter too. These need a GPU, for cuDNN, autocast, loss
scaling and the sizes that real images have.
"""

import statistics

import pytest
import torch
import torch.nn.functional as F

from mmdensenet.models import DenseNet

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU'),
    pytest.mark.usefixtures('exact_float32'),
]

SMALL = dict(growth_rate=12, depths=[3, 2, 2], init_channels=24)
DTYPES = {'float32': torch.float32, 'bfloat16': torch.bfloat16, 'float16': torch.float16}


def networks(arch, **kwargs):
    """The exact one in float64, the reference and ours, with the same random weights and statistics."""
    models = [DenseNet(arch, engine=engine, **kwargs).cuda() for engine in ('reference', 'reference', 'auto')]
    models[0].double()
    for name, value in models[1].named_parameters():
        if value.dim() == 1:
            value.data.normal_(std=0.3).add_(1.0 if name.endswith('weight') else 0.0)
    for value in models[1].buffers():
        if value.dim() == 1:
            value.data.uniform_(0.5, 1.5)
    for other in (models[0], models[2]):
        other.load_state_dict(models[1].state_dict())
    return models


def relative(actual, exact):
    return ((actual.double() - exact).norm() / exact.norm().clamp_min(1e-30)).item()


def results(model, x, dtype, train):
    """Features, and in training the gradients and what the running statistics became, by name."""
    model.train(train)
    x = x.to(next(model.parameters()).dtype, copy=True).requires_grad_(train)
    narrow = dtype != torch.float32 and x.dtype != torch.float64
    scaler = torch.amp.GradScaler('cuda', init_scale=128.0, enabled=narrow and dtype == torch.float16)
    with torch.set_grad_enabled(train), torch.autocast('cuda', dtype, enabled=narrow):
        (out,) = model(x)
    found = {'features': out.detach()}
    if train:
        weight = torch.randn(out.shape, device='cuda', generator=torch.Generator('cuda').manual_seed(1))
        loss = (F.silu(out.to(x.dtype)) * weight).mean()
        scaler.scale(loss).backward()
        scale = scaler.get_scale() if scaler.is_enabled() else 1.0
        gradients = dict(model.named_parameters()) | {'input': x}
        found |= {name: tensor.grad / scale for name, tensor in gradients.items() if tensor.grad is not None}
        found |= {name: b.clone() for name, b in model.named_buffers() if b.dim()}
    return found


def assert_no_worse(arch, shape, dtype, train, **kwargs):
    """Typically at most twice the reference's error, and nowhere more than twice its largest.

    Where a ReLU's input is nearly 0, one rounding more or less flips the gradient of a whole pixel, in theirs as in
    ours: so of three draws the middle error counts, and single tensors are compared with the reference's worst one.
    """
    mine_errors, their_errors = {}, {}
    for _ in range(3):
        exact, reference, ours = networks(arch, **kwargs)
        x = torch.randn(shape, device='cuda')
        truth, theirs, mine = (results(model, x, DTYPES[dtype], train) for model in (exact, reference, ours))
        assert truth.keys() == mine.keys()
        for name in truth:
            mine_errors.setdefault(name, []).append(relative(mine[name], truth[name]) + 1e-9)
            their_errors.setdefault(name, []).append(relative(theirs[name], truth[name]) + 1e-9)
    middle = {name: statistics.median(errors) for name, errors in mine_errors.items()}
    theirs = {name: statistics.median(errors) for name, errors in their_errors.items()}
    ratio = statistics.geometric_mean(middle[name] / theirs[name] for name in middle)
    assert ratio <= 2, (ratio, middle, theirs)
    largest = max(max(errors) for errors in their_errors.values())
    for name, error in middle.items():
        assert error <= 2 * largest, (name, mine_errors[name], their_errors[name], largest)


@pytest.mark.parametrize('train', [True, False], ids=['train', 'eval'])
@pytest.mark.parametrize('channels_last', [True, False], ids=['channels_last', 'contiguous'])
@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('shape', [(2, 3, 75, 61), (1, 3, 224, 224), (9, 3, 64, 96)], ids=str)
def test_densenet121(shape, dtype, channels_last, train):
    assert_no_worse('121', shape, dtype, train, channels_last=channels_last)


@pytest.mark.parametrize('train', [True, False], ids=['train', 'eval'])
@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('batch', [1, 2, 3, 5, 8, 17, 64, 256])
def test_small_network_at_every_batch(batch, dtype, train):
    assert_no_worse(SMALL, (batch, 3, 37, 32), dtype, train, stem='cifar', channels_last=True)


@pytest.mark.parametrize('kwargs', [dict(bottleneck=False), dict(frozen_stages=1), dict(norm_eval=True)], ids=str)
@pytest.mark.parametrize('dtype', DTYPES)
def test_variants(dtype, kwargs):
    assert_no_worse(SMALL, (6, 3, 33, 40), dtype, True, stem='cifar', **kwargs)


def test_two_steps_give_the_same_bits():
    torch.backends.cudnn.deterministic = True
    try:
        *_, ours = networks(SMALL, stem='cifar')
        x = torch.randn(8, 3, 32, 32, device='cuda')
        state = {name: value.clone() for name, value in ours.state_dict().items()}
        first = results(ours, x, torch.bfloat16, True)
        ours.zero_grad()
        ours.load_state_dict(state)
        second = results(ours, x, torch.bfloat16, True)
    finally:
        torch.backends.cudnn.deterministic = False
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_graph_replays_the_step():
    """torch.cuda.CUDAGraph captures forward, backward and the running statistics."""
    *_, eager = networks(SMALL, stem='cifar')
    *_, captured = networks(SMALL, stem='cifar')
    captured.load_state_dict(eager.state_dict())
    state = {name: value.clone() for name, value in eager.state_dict().items()}
    images = torch.randn(3, 8, 3, 32, 32, device='cuda')

    def step(model, x):
        with torch.autocast('cuda', torch.bfloat16):
            loss = model(x)[0].float().square().mean()
        loss.backward()

    for model in (eager, captured):
        model.train()
    static = images[0].clone()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            captured.zero_grad(set_to_none=False)
            step(captured, static)
    torch.cuda.current_stream().wait_stream(stream)
    captured.zero_grad(set_to_none=True)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step(captured, static)
    captured.load_state_dict(state)
    for x in images:
        eager.zero_grad()
        step(eager, x)
        static.copy_(x)
        for parameter in captured.parameters():
            parameter.grad.zero_()
        graph.replay()
        for (name, expected), actual in zip(eager.named_parameters(), captured.parameters()):
            assert relative(actual.grad, expected.grad.double()) < 1e-2, name
    for name, expected in eager.state_dict().items():
        torch.testing.assert_close(captured.state_dict()[name], expected, msg=name)
