"""The steps of a block in C++ beside plain torch, and both beside the formulas in float64."""

import inspect

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mmdensenet.ops.steps import native
from mmdensenet.ops.steps.plain import PlainSteps
from mmdensenet.ops.steps.plain import plain_steps as plain
from mmdensenet.ops.steps.protocol import Steps

#: (N, H, W), channels, bottleneck width, growth rate: of DenseNet-121, -161 and CIFAR's, minimal and ragged ones
CASES = [
    ((2, 14, 14), 96, 128, 32),
    ((1, 7, 7), 512, 128, 32),
    ((2, 8, 8), 40, 48, 12),
    ((3, 5, 9), 13, 10, 5),
    ((1, 3, 2), 3, 2, 1),
    ((2, 17, 31), 33, 40, 10),
    ((1, 56, 30), 70, 192, 48),
]
IDS = ['121', 'one image', 'cifar', 'odd', 'minimal', 'ragged', '161']


def rows(count: int, channels: int, wide: int = 0) -> Tensor:
    """Random rows whose means differ, as a view of some columns of a wider matrix."""
    whole = torch.randn(count, channels + wide) + torch.randn(channels + wide) * 2
    return whole[:, :channels]


def assert_close(got, want, what: str = '', tolerance: float = 2e-5):
    want = want.double()
    scale = want.abs().max().clamp_min(1e-6)
    error = ((got.double() - want).abs().max() / scale).item()
    assert error <= tolerance, f'{what}: {error:.2g}'


def inputs(case, seed=0):
    torch.manual_seed(seed)
    shape, c, j, k = case
    m = shape[0] * shape[1] * shape[2]
    return shape, c, j, k, m


@pytest.mark.parametrize('steps', ['plain', 'native'])
@pytest.mark.parametrize('case', CASES, ids=IDS)
def test_matmul(case, steps, native_kernels):
    steps = {'plain': plain, 'native': native_kernels}[steps]
    _shape, c, j, _, m = inputs(case)
    features, weight = rows(m, c, 7), torch.randn(j, c)
    scale, shift = torch.randn(c), torch.randn(c)
    out, mean, var = steps.norm_relu_matmul(features, scale, shift, weight)
    want = (features.double() * scale + shift).relu() @ weight.double().t()
    assert_close(out, want, 'out')
    assert_close(mean, want.mean(0), 'mean')
    assert_close(var, want.var(0, correction=0), 'var')
    assert steps.norm_relu_matmul(features, scale, shift, weight, measure=False)[1:] == (None, None)


@pytest.mark.parametrize('steps', ['plain', 'native'])
@pytest.mark.parametrize('pooled', [False, True], ids=['matmul', 'pooled'])
@pytest.mark.parametrize('overwrite', [False, True])
@pytest.mark.parametrize('case', CASES, ids=IDS)
def test_matmul_backward(case, overwrite, pooled, steps, native_kernels):
    steps = {'plain': plain, 'native': native_kernels}[steps]
    shape, c, j, _, m = inputs(case)
    n, h, w = shape
    features, weight, mean = rows(m, c, 5), torch.randn(j, c), torch.randn(c)
    scale, shift, coefficient = torch.randn(c), torch.randn(c), torch.randn(c)
    accumulator = rows(m, c, 5)
    before = accumulator.clone()

    f = features.double()
    z = (f * scale + shift).requires_grad_()
    u = z.relu()
    if pooled:
        u = F.avg_pool2d(u.view(n, h, w, c).permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1).reshape(-1, c)
    weights = weight.double().requires_grad_()
    want = u @ weights.t()
    grad = torch.randn(want.shape)
    (want * grad).sum().backward()
    forward, backward = steps.norm_relu_matmul, steps.norm_relu_matmul_backward
    extra = ()
    if pooled:
        forward, backward, extra = steps.norm_relu_pool_matmul, steps.norm_relu_pool_matmul_backward, (shape,)
    assert_close(forward(features, scale, shift, weight, *extra)[0], want.detach(), 'out')
    grad_weight, sum_dz, centred = backward(
        features, scale, shift, mean, weight, *extra, grad, coefficient, accumulator, overwrite
    )
    assert_close(grad_weight, weights.grad, 'weight')
    assert_close(sum_dz, z.grad.sum(0), 'sum')
    assert_close(centred, (z.grad * (f - mean)).sum(0), 'centred')
    assert_close(accumulator, z.grad * coefficient + (0 if overwrite else before), 'accumulator')


@pytest.mark.parametrize('steps', ['plain', 'native'])
@pytest.mark.parametrize('case', CASES, ids=IDS)
@pytest.mark.parametrize('with_mask', [False, True], ids=['', 'dropout'])
def test_convolution(case, with_mask, steps, native_kernels):
    steps = {'plain': plain, 'native': native_kernels}[steps]
    shape, _, j, k, m = inputs(case)
    y, weight, scale, shift, mean = (
        rows(m, j, 3),
        torch.randn(k, j, 3, 3),
        torch.randn(j),
        torch.randn(j),
        torch.randn(j),
    )
    whole = torch.full((m, k + 2), 7.0)
    mask = torch.randint(0, 2, (m, k)) * 2.0 if with_mask else None
    out_mean, out_var = steps.norm_relu_conv3x3(y, scale, shift, weight, shape, whole[:, 1:-1], mask)

    f = y.double()
    z = (f * scale + shift).requires_grad_()
    weights = weight.double().requires_grad_()
    conv = F.conv2d(z.relu().view(*shape, j).permute(0, 3, 1, 2), weights, padding=1).permute(0, 2, 3, 1).reshape(m, k)
    want = conv.detach() if mask is None else conv.detach() * mask
    assert_close(whole[:, 1:-1], want, 'out')
    assert (whole[:, [0, -1]] == 7).all(), 'written beside its columns'
    assert_close(out_mean, want.mean(0), 'mean')
    assert_close(out_var, want.var(0, correction=0), 'var')
    steps.norm_relu_conv3x3(y, None, shift, weight, shape, whole[:, 1:-1], measure=False)
    assert_close(
        whole[:, 1:-1],
        F.conv2d((f + shift).relu().view(*shape, j).permute(0, 3, 1, 2), weight.double(), padding=1)
        .permute(0, 2, 3, 1)
        .reshape(m, k),
    )

    grad = rows(m, k, 4)
    (conv * grad).sum().backward()
    grad_z, grad_weight, sum_dz, centred = steps.norm_relu_conv3x3_backward(y, scale, shift, mean, weight, shape, grad)
    assert_close(grad_z, z.grad, 'grad_z')
    assert_close(grad_weight, weights.grad, 'weight')
    assert_close(sum_dz, z.grad.sum(0), 'sum')
    assert_close(centred, (z.grad * (f - mean)).sum(0), 'centred')


@pytest.mark.parametrize('steps', ['plain', 'native'])
@pytest.mark.parametrize('case', CASES, ids=IDS)
def test_batch_norm(case, steps, native_kernels):
    steps = {'plain': plain, 'native': native_kernels}[steps]
    _, c, _, _, m = inputs(case)
    x, grad, add = rows(m, c, 3), rows(m, c, 2), rows(m, c, 1)
    mean, rstd, a, b, k = torch.randn(5, c)
    got = steps.statistics(x)
    assert_close(got[0], x.double().mean(0), 'mean')
    assert_close(got[1], x.double().var(0, correction=0), 'var')
    total, centred = steps.batch_norm_backward_sums(grad, x, mean)
    assert_close(total, grad.double().sum(0), 'sum')
    assert_close(centred, (grad.double() * (x.double() - mean)).sum(0), 'centred')
    want = k * (grad.double() - a / 3 - (x.double() - mean) * rstd.double().square() * b / 3)
    assert_close(steps.batch_norm_backward(grad, x, mean, rstd, k, a, b, torch.tensor(3.0)), want)
    assert_close(steps.batch_norm_backward(grad, x, mean, rstd, k, a, b, 3, add=add, out=grad), want + add)


@pytest.mark.parametrize('steps', ['plain', 'native'])
@pytest.mark.parametrize('case', CASES, ids=IDS)
def test_max_pool(case, steps, native_kernels):
    steps = {'plain': plain, 'native': native_kernels}[steps]
    shape, c, _, _, m = inputs(case)
    x, scale, shift, mean = rows(m, c, 3), *torch.randn(3, c)
    x[: m // 2] = x[:1]  # equal values: the first of them is the largest
    z = (x.double() * scale + shift).float().requires_grad_()
    want = F.max_pool2d(z.relu().view(*shape, c).permute(0, 3, 1, 2), 3, 2, 1).permute(0, 2, 3, 1).reshape(-1, c)
    assert_close(steps.norm_relu_max_pool(x, scale, shift, shape), want.detach(), 'out')
    grad = torch.randn(want.shape)
    want.backward(grad)
    dz, total, centred = steps.norm_relu_max_pool_backward(x, scale, shift, mean, shape, grad)
    assert_close(total, z.grad.double().sum(0), 'sum')
    assert_close(centred, (z.grad.double() * (x.double() - mean)).sum(0), 'centred')
    assert_close(dz, z.grad, 'dz')


@pytest.mark.parametrize('steps', ['plain', 'native'])
def test_statistics_far_from_zero(steps, native_kernels):
    """Channels whose mean is a thousand times their deviation."""
    steps = {'plain': plain, 'native': native_kernels}[steps]
    torch.manual_seed(0)
    x = torch.randn(5000, 20) + 1000
    exact = x.double()
    mean, var = steps.statistics(x)
    assert_close(mean, exact.mean(0), tolerance=1e-6)
    assert_close(var, exact.var(0, correction=0), tolerance=1e-3)


def test_native_is_deterministic_and_keeps_nan(native_kernels):
    _shape, c, j, _k, m = inputs(CASES[0])
    features, weight = rows(m, c), torch.randn(j, c)
    scale, shift = torch.randn(c), torch.randn(c)
    first, second = (native_kernels.norm_relu_matmul(features, scale, shift, weight) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second))
    features[3, 5] = float('nan')
    assert native_kernels.norm_relu_matmul(features, scale, shift, weight)[0][3].isnan().all()


@pytest.mark.parametrize('size', [(28, 28), (7, 7)], ids=str)
def test_convolutions_rounding(size, native_kernels):
    """Winograd's transforms must not cost exactness: in float32 at most twice plain torch's error (0.6 times here)."""
    torch.manual_seed(0)
    shape, m = (2, *size), 2 * size[0] * size[1]
    y, shift, weight = torch.randn(m, 128), torch.randn(128), torch.randn(32, 128, 3, 3)
    images = (y.double() + shift).relu().view(*shape, 128).permute(0, 3, 1, 2)
    want = F.conv2d(images, weight.double(), padding=1).permute(0, 2, 3, 1).reshape(m, 32)
    errors = []
    for steps in (plain, native_kernels):
        out = torch.empty(m, 32)
        steps.norm_relu_conv3x3(y, None, shift, weight, shape, out, measure=False)
        errors.append((out - want).square().mean().sqrt().item())
    assert errors[1] <= 2 * errors[0], errors


def test_convolution_keeps_nan(native_kernels):
    """A NaN reaches all outputs that it belongs to, and none further than the other outputs of their 2x2 tiles."""
    shape, c, k = (1, 11, 12), 16, 8
    y, out = torch.rand(11 * 12, c), torch.empty(11 * 12, k)
    y[5 * 12 + 6, 3] = float('nan')
    native_kernels.norm_relu_conv3x3(y, None, torch.zeros(c), torch.rand(k, c, 3, 3), shape, out, measure=False)
    nan = out.view(11, 12, k).isnan()
    assert nan[4:7, 5:8].all()
    nan[4:8, 4:8] = False
    assert not nan.any()


def bfloat16_results(steps, case, seed=0) -> dict[str, Tensor]:
    """All steps on bfloat16 rows; the same random numbers for the same seed, in float64 where steps are None."""
    shape, c, j, k, m = inputs(case, seed)
    n, h, w = shape
    dtype = torch.float64 if steps is None else torch.bfloat16
    wide = torch.float64 if steps is None else torch.float32

    def low(tensor: Tensor) -> Tensor:  # the values are bfloat16's in any case
        return tensor.bfloat16().to(dtype)

    features, y, accumulator = low(rows(m, c, 5)), low(rows(m, j, 3)), low(rows(m, c, 5))
    grad_y, grad_new = low(torch.randn(m, j)), low(rows(m, k, 4))
    grad_pooled = low(torch.randn(n * (h // 2) * (w // 2), j))
    grad_max = low(torch.randn(n * ((h + 1) // 2) * ((w + 1) // 2), c))
    w1, w2, w3 = torch.randn(j, c).to(wide), torch.randn(k, j, 3, 3).to(wide), torch.randn(k, c, 3, 3).to(wide)
    scale, shift, mean, coefficient, rstd, other = torch.randn(6, c).to(wide)
    scale2, shift2, mean2 = torch.randn(3, j).to(wide)
    steps = steps or plain
    new = torch.empty(m, k + 2, dtype=dtype)
    into = [accumulator.clone() for _ in range(3)]
    groups = dict(
        statistics=steps.statistics(features),
        matmul=steps.norm_relu_matmul(features, scale, shift, w1),
        matmul_backward=steps.norm_relu_matmul_backward(features, scale, shift, mean, w1, grad_y, coefficient, into[0]),
        conv=steps.norm_relu_conv3x3(y, scale2, shift2, w2, shape, new[:, 1:-1]),
        conv_backward=steps.norm_relu_conv3x3_backward(y, scale2, shift2, mean2, w2, shape, grad_new),
        conv_into=steps.norm_relu_conv3x3_backward_into(
            features, scale, shift, mean, w3, shape, grad_new, coefficient, into[1]
        ),
        pool=steps.norm_relu_pool_matmul(features, scale, shift, w1, shape)[:1],
        pool_backward=steps.norm_relu_pool_matmul_backward(
            features, scale, shift, mean, w1, shape, grad_pooled, coefficient, into[2], overwrite=True
        ),
        max_pool=[steps.norm_relu_max_pool(features, scale, shift, shape)],
        max_pool_backward=steps.norm_relu_max_pool_backward(features, scale, shift, mean, shape, grad_max),
        sums=steps.batch_norm_backward_sums(accumulator, features, mean),
        correction=[
            steps.batch_norm_backward(accumulator, features, mean, rstd, coefficient, other, shift, 2, add=features)
        ],
        into=into,
        new=[new[:, 1:-1]],
    )
    return {f'{name} {i}': value for name, group in groups.items() for i, value in enumerate(group)}


@pytest.mark.parametrize('case', CASES, ids=IDS)
def test_bfloat16_errs_at_most_twice_as_much_as_plain_torch(case, native_kernels):
    exact = bfloat16_results(None, case)
    plain_ones, ours = (bfloat16_results(s, case) for s in (plain, native.steps_of(torch.bfloat16)))
    for name, want in exact.items():
        errors = [((got[name].double() - want).norm() / want.norm()).item() for got in (plain_ones, ours)]
        assert errors[1] <= 2 * errors[0] + 1e-6, f'{name}: {errors}'
        assert ours[name].dtype == plain_ones[name].dtype
        # which of several equal values is the largest is decided by rounding
        assert errors[1] < (0.5 if 'max_pool_backward' in name else 0.05), f'{name}: {errors}'


def test_bfloat16_rounds_as_torch_does_and_keeps_nan(native_kernels):
    steps = native.steps_of(torch.bfloat16)
    values = torch.tensor([0.0, -1.0, 1.0, 1.00390625, 1.01171875, 3e38, float('inf'), float('nan'), 65504.0, 0.1] * 7)
    x = values.bfloat16().view(2, 35)
    scale, shift = torch.full((35,), 1.0039), torch.zeros(35)
    got = steps.norm_relu_matmul(x, scale, shift, torch.eye(35), measure=False)[0]
    want = plain.norm_relu_matmul(x, scale, shift, torch.eye(35), measure=False)[0]
    assert torch.equal(got.isnan(), want.isnan())
    got, want = (steps_.norm_relu_max_pool(x, scale, shift, (1, 1, 2)) for steps_ in (steps, plain))
    assert torch.equal(got.nan_to_num(-1), want.nan_to_num(-1))


def test_statistics_do_not_depend_on_the_default_type(native_kernels):
    x = torch.randn(50, 7)
    expected = native_kernels.statistics(x)
    torch.set_default_dtype(torch.float64)
    try:
        got = native_kernels.statistics(x)
    finally:
        torch.set_default_dtype(torch.float32)
    assert all(torch.equal(a, b) for a, b in zip(got, expected))


@pytest.mark.parametrize('name', [name for name in vars(Steps) if not name.startswith('_') and name != 'name'])
def test_all_steps_take_the_same_arguments(name, native_kernels):
    """So that a block can be computed by any of them."""
    pytest.importorskip('triton')
    from mmdensenet.ops.steps.triton import triton_steps

    wanted = getattr(PlainSteps, name)
    if not callable(wanted):
        return
    want = list(inspect.signature(getattr(plain, name)).parameters.values())
    for steps in (native.float32_steps, native.bfloat16_steps, triton_steps):
        got = list(inspect.signature(getattr(steps, name)).parameters.values())
        assert [(p.name, p.default) for p in got] == [(p.name, p.default) for p in want], steps.name
