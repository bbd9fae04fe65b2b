"""The Triton kernels against plain torch in float64: in the interpreter, or on the GPU where there is one.

A kernel may err at most twice as much as plain torch that rounds to the same dtype after every operation.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

triton = pytest.importorskip('triton')
from triton_interpreter import DEVICE, mend

if DEVICE == 'cpu':
    if not triton.knobs.runtime.interpret:
        pytest.skip('Triton was imported without its interpreter, and there is no GPU', allow_module_level=True)
    mend()

from mmdensenet.ops import norms
from mmdensenet.ops.steps.triton import common, conv, matmul_backward, why_not
from mmdensenet.ops.steps.triton import triton_steps as kernels

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
#: (N, H, W), C, J, k: ragged with growth rate 12; a single small image; several tiles and widths of two powers of two
SIZES = [((2, 7, 5), 28, 48, 12), ((1, 2, 3), 64, 16, 16), ((3, 6, 6), 36, 20, 40)]
sizes = pytest.mark.parametrize('size', SIZES, ids=str)
dtypes = pytest.mark.parametrize('dtype', DTYPES, ids=lambda dtype: str(dtype).removeprefix('torch.'))


@pytest.fixture(autouse=True)
def exact_float32():
    torch.manual_seed(0)
    flags = torch.backends.cudnn, torch.backends.cuda.matmul
    before = [flag.allow_tf32 for flag in flags]
    for flag in flags:
        flag.allow_tf32 = False
    yield
    for flag, value in zip(flags, before):
        flag.allow_tf32 = value


def rows(m, c, dtype, extra=8, before=0):
    """Random (M, C) features as a view into a wider buffer; ``before`` columns come first."""
    buffer = torch.randn(m, before + c + extra, device=DEVICE).to(dtype)
    return buffer[:, before : before + c]


def vectors(c, count=2):
    """Random scales and shifts, some scales negative, one zero."""
    out = [torch.randn(c, device=DEVICE) for _ in range(count)]
    out[0][0] = 0
    return out


def error(actual, exact):
    return ((actual.double() - exact).norm() / (exact.norm() or 1)).item()


def compare(actuals, function, dtype, *inputs):
    """``function`` of float64 inputs is the truth; of inputs of ``dtype`` it errs half as much as is allowed."""
    wide = [value.double() if torch.is_tensor(value) else value for value in inputs]
    exacts, plains = function(torch.float64, *wide), function(dtype, *inputs)
    assert len(actuals) == len(exacts)
    for i, (actual, exact, plain) in enumerate(zip(actuals, exacts, plains)):
        assert actual.shape == exact.shape, i
        allowed = 2 * error(plain, exact) + torch.finfo(torch.float32).eps
        assert error(actual, exact) <= allowed, f'result {i}: {error(actual, exact):.3g}, allowed {allowed:.3g}'


def mean_and_variance(values):
    wide = values if values.dtype == torch.float64 else values.float()
    return wide.mean(0), wide.var(0, correction=0)


def affine(dtype, x, scale, shift):
    """The norm: in float32 inside, its result in ``dtype``."""
    return (x * scale + shift).to(dtype)


def images(values, shape):
    return values.unflatten(0, shape).permute(0, 3, 1, 2)


def as_rows(values):
    return values.permute(0, 2, 3, 1).flatten(0, 2)


@dtypes
@sizes
def test_statistics(size, dtype):
    shape, c, *_ = size
    x = rows(shape[0] * shape[1] * shape[2], c, dtype)
    compare(kernels.statistics(x), lambda _, x: mean_and_variance(x), dtype, x)


@pytest.mark.parametrize('dtype', DTYPES, ids=str)
def test_statistics_of_channels_far_from_zero(dtype):
    """Means of 1000 times the spread: squares minus the squared mean would lose all digits but one or two."""
    x = rows(300, 8, torch.float32) + 1000
    x = x.to(dtype)
    mean, variance = kernels.statistics(x)
    assert error(mean, x.double().mean(0)) < 1e-6
    # the means of the parts, rounded to float32, are known to 6e-5 of the spread
    assert error(variance, x.double().var(0, correction=0)) < 6e-5

    features = (1 + 1e-3 * torch.randn(200, 8, device=DEVICE)).to(dtype)
    weight = torch.rand(20, 8, device=DEVICE) + 0.5
    out, mean, variance = kernels.norm_relu_matmul(
        features, torch.ones(8, device=DEVICE), torch.zeros(8, device=DEVICE), weight
    )
    assert error(mean, out.double().mean(0)) < 1e-6
    assert error(variance, out.double().var(0, correction=0)) < 6e-5


def test_many_groups_are_merged_in_steps():
    groups = torch.randn(700 * 3 - 1, 5, device=DEVICE) + 100
    parts = [part.double() for part in groups.split(3)]
    partial = torch.stack([torch.stack([p.mean(0), p.var(0, correction=0)]) for p in parts]).float()
    mean, variance = common.merge_statistics(partial, len(groups), 3)
    assert error(mean, groups.double().mean(0)) < 1e-6
    assert error(variance, groups.double().var(0, correction=0)) < 1e-5
    assert error(common.sum_partials(partial), partial.double().sum(0)) < 1e-6


def test_columns_as_two_powers_of_two():
    assert [common.split_columns(j) for j in (12, 48, 96, 128, 160, 192)] == [
        (16, 0),
        (32, 16),
        (64, 32),
        (128, 0),
        (128, 32),
        (128, 64),
    ]
    assert [common.split_columns(j, 64) for j in (48, 96, 160)] == [(64, 0), (128, 0), (128, 64)]
    assert all(sum(common.split_columns(j)) >= j for j in range(1, 300))


def plain_matmul(dtype, x, scale, shift, weight):
    out = affine(dtype, x, scale, shift).relu() @ weight.to(dtype).t()
    return out, *mean_and_variance(out)


@dtypes
@sizes
def test_norm_relu_matmul(size, dtype):
    shape, c, j, _ = size
    x, weight = rows(shape[0] * shape[1] * shape[2], c, dtype), torch.randn(j, c, device=DEVICE)
    scale, shift = vectors(c)
    compare(kernels.norm_relu_matmul(x, scale, shift, weight), plain_matmul, dtype, x, scale, shift, weight)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16], ids=str)
def test_more_columns_than_one_program_has(dtype):
    x, weight = rows(40, 20, dtype), torch.randn(300, 20, device=DEVICE)
    scale, shift = vectors(20)
    compare(kernels.norm_relu_matmul(x, scale, shift, weight), plain_matmul, dtype, x, scale, shift, weight)


def plain_matmul_backward(dtype, x, scale, shift, mean, weight, grad, coefficient, accumulator, overwrite):
    z = affine(dtype, x, scale, shift)
    dz = (grad @ weight.to(dtype)) * (z > 0)
    scaled = (coefficient * dz).to(dtype)
    wide = torch.promote_types(dtype, torch.float32)
    sums = dz.to(wide).sum(0), (dz.to(wide) * (x.to(wide) - mean)).sum(0)
    return scaled if overwrite else accumulator + scaled, (grad.t() @ z.relu()), *sums


@pytest.mark.parametrize('fused', [True, False], ids=['one kernel', 'two kernels'])
@pytest.mark.parametrize('overwrite', [False, True])
@dtypes
@sizes
def test_norm_relu_matmul_backward(size, dtype, overwrite, fused, monkeypatch):
    if fused and dtype == torch.float32:
        pytest.skip('float32 always takes two kernels')
    monkeypatch.setattr(matmul_backward, 'has_wgmma', lambda device: fused)
    shape, c, j, _ = size
    m = shape[0] * shape[1] * shape[2]
    x, grad, accumulator = rows(m, c, dtype), rows(m, j, dtype), rows(m, c, dtype, before=4)
    before, outside = accumulator.clone(), accumulator._base[:, :4].clone()
    weight, mean = torch.randn(j, c, device=DEVICE), x.float().mean(0)
    scale, shift, coefficient = vectors(c, 3)
    results = kernels.norm_relu_matmul_backward(
        x, scale, shift, mean, weight, grad, coefficient, accumulator, overwrite=overwrite
    )
    assert results[0].dtype == weight.dtype
    inputs = x, scale, shift, mean, weight, grad, coefficient, before, overwrite
    compare((accumulator, *results), plain_matmul_backward, dtype, *inputs)
    assert torch.equal(accumulator._base[:, :4], outside)


def plain_conv(dtype, x, scale, shift, weight, shape, mask):
    u = affine(dtype, x, scale, shift).relu()
    out = as_rows(F.conv2d(images(u, shape), weight.to(dtype), padding=1))
    if mask is not None:
        out = (out * mask).to(dtype)
    return out, *mean_and_variance(out)


@pytest.mark.parametrize('dropout', [False, True])
@pytest.mark.parametrize('implicit', [True, False], ids=['product', 'cudnn'])
@dtypes
@sizes
def test_norm_relu_conv3x3(size, dtype, implicit, dropout, monkeypatch):
    monkeypatch.setattr(conv, 'IMPLICIT', implicit)
    shape, _, j, k = size
    m = shape[0] * shape[1] * shape[2]
    x, weight, out = rows(m, j, dtype), torch.randn(k, j, 3, 3, device=DEVICE), rows(m, k, dtype, before=12)
    scale, shift = vectors(j)
    mask = (torch.rand(m, k, device=DEVICE) > 0.3) / 0.7 if dropout else None
    before = out._base.clone()
    statistics = kernels.norm_relu_conv3x3(x, scale, shift, weight, shape, out, mask)
    compare((out, *statistics), plain_conv, dtype, x, scale, shift, weight, shape, mask)
    assert torch.equal(out._base[:, :12], before[:, :12])
    assert torch.equal(out._base[:, 12 + k :], before[:, 12 + k :])


def plain_conv_backward(dtype, x, scale, shift, mean, weight, shape, grad):
    z = affine(dtype, x, scale, shift)
    u, w = images(z.relu(), shape).requires_grad_(), weight.to(dtype).requires_grad_()
    grad_u, grad_weight = torch.autograd.grad(F.conv2d(u, w, padding=1), (u, w), images(grad, shape))
    dz = as_rows(grad_u) * (z > 0)
    wide = torch.promote_types(dtype, torch.float32)
    return dz, grad_weight, dz.to(wide).sum(0), (dz.to(wide) * (x.to(wide) - mean)).sum(0)


@dtypes
@sizes
def test_norm_relu_conv3x3_backward(size, dtype):
    shape, _, j, k = size
    m = shape[0] * shape[1] * shape[2]
    x, grad, weight = rows(m, j, dtype), rows(m, k, dtype), torch.randn(k, j, 3, 3, device=DEVICE)
    scale, shift = vectors(j)
    inputs = x, scale, shift, x.float().mean(0), weight, shape, grad
    results = kernels.norm_relu_conv3x3_backward(*inputs)
    assert (results[0].dtype, results[1].dtype) == (dtype, weight.dtype)
    compare(results, plain_conv_backward, dtype, *inputs)


def plain_sums(dtype, grad, x, mean):
    wide = torch.promote_types(dtype, torch.float32)
    return grad.to(wide).sum(0), (grad.to(wide) * (x.to(wide) - mean)).sum(0)


def plain_correction(dtype, grad, x, mean, rstd, coefficient, sum_grad, sum_centred, total, add):
    normalised = affine(dtype, x - mean, rstd, 0)
    out = (coefficient * (grad - sum_grad / total - normalised * (sum_centred * rstd / total))).to(dtype)
    return (out if add is None else out + add,)


@pytest.mark.parametrize('add', [False, True])
@dtypes
@sizes
def test_batch_norm_backward(size, dtype, add):
    shape, c, _, k = size
    m = shape[0] * shape[1] * shape[2]
    x, grad = rows(m, k, dtype, before=c), rows(m, k, dtype, before=c)
    mean = x.float().mean(0)
    compare(kernels.batch_norm_backward_sums(grad, x, mean), plain_sums, dtype, grad, x, mean)
    direct = rows(m, k, dtype) if add else None
    factors = vectors(k, 4)
    inputs = x, mean, *factors, m
    result = kernels.batch_norm_backward(grad, *inputs, add=direct)
    assert result.dtype == dtype
    compare((result,), plain_correction, dtype, grad, *inputs, direct)
    kernels.batch_norm_backward(grad, *inputs, add=direct, out=grad)
    assert torch.equal(grad, result)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize('start', [0, 5, 130])
def test_norms_of_channels_that_were_written_last(start, dtype):
    k, eps = 12, 1e-3
    stop = start + k
    gamma, beta = (torch.randn(stop, device=DEVICE).to(dtype) for _ in range(2))
    mean, var, rstd = (torch.rand(stop + 3, device=DEVICE) + 0.1 for _ in range(3))
    new_mean, new_var = (torch.rand(k, device=DEVICE) for _ in range(2))
    expected = [value.clone() for value in (mean, var, rstd)]
    want = norms.extend_norm(new_mean, new_var, *expected, stop, eps, gamma, beta)
    got = kernels.extend_norm(new_mean, new_var, mean, var, rstd, stop, eps, gamma, beta)
    for actual, exact in zip((*got, mean, var, rstd), (*want, *expected)):
        torch.testing.assert_close(actual, exact)
    before = mean[stop:].clone()
    assert kernels.extend_norm(new_var, new_mean + 1, mean, var, rstd, stop, eps) is None
    assert torch.equal(mean[start:stop], new_var) and torch.equal(var[start:stop], new_mean + 1)
    assert torch.equal(mean[stop:], before)
    got = kernels.new_norm(new_mean, new_var, eps, gamma[:k], beta[:k])
    for actual, exact in zip(got, norms.new_norm(new_mean, new_var, eps, gamma[:k], beta[:k])):
        torch.testing.assert_close(actual, exact)


def plain_pool(dtype, x, scale, shift, weight, shape):
    z = affine(dtype, x, scale, shift).relu()
    out = as_rows(F.avg_pool2d(images(z, shape), 2)) @ weight.to(dtype).t()
    return out, *mean_and_variance(out)


@dtypes
@sizes
def test_norm_relu_pool_matmul(size, dtype):
    shape, c, j, _ = size
    x, weight = rows(shape[0] * shape[1] * shape[2], c, dtype), torch.randn(j, c, device=DEVICE)
    inputs = x, *vectors(c), weight, shape
    out, *none = kernels.norm_relu_pool_matmul(*inputs)
    assert none == [None, None]
    compare((out,), lambda *args: plain_pool(*args)[:1], dtype, *inputs)


def plain_pool_backward(dtype, x, scale, shift, mean, weight, shape, grad, coefficient, accumulator, overwrite):
    z = affine(dtype, x, scale, shift)
    u = z.relu().requires_grad_()
    pooled = as_rows(F.avg_pool2d(images(u, shape), 2))
    (grad_u,) = torch.autograd.grad(pooled, u, grad @ weight.to(dtype))
    dz = grad_u * (z > 0)
    scaled = (coefficient * dz).to(dtype)
    wide = torch.promote_types(dtype, torch.float32)
    sums = dz.to(wide).sum(0), (dz.to(wide) * (x.to(wide) - mean)).sum(0)
    return scaled if overwrite else accumulator + scaled, grad.t() @ pooled.detach(), *sums


@pytest.mark.parametrize('overwrite', [False, True])
@dtypes
@sizes
def test_norm_relu_pool_matmul_backward(size, dtype, overwrite):
    shape, c, j, _ = size
    n, height, width = shape
    m = n * height * width
    x, accumulator = rows(m, c, dtype), rows(m, c, dtype, before=4)
    grad, weight = rows(n * (height // 2) * (width // 2), j, dtype), torch.randn(j, c, device=DEVICE)
    before, outside = accumulator.clone(), accumulator._base[:, :4].clone()
    scale, shift, coefficient = vectors(c, 3)
    inputs = x, scale, shift, x.float().mean(0), weight, shape, grad, coefficient
    results = kernels.norm_relu_pool_matmul_backward(*inputs, accumulator, overwrite=overwrite)
    compare((accumulator, *results), plain_pool_backward, dtype, *inputs, before, overwrite)
    assert torch.equal(accumulator._base[:, :4], outside)


def test_an_image_too_small_to_pool():
    x, vector = rows(5, 4, torch.float32), torch.ones(4, device=DEVICE)
    with pytest.raises(ValueError, match='images of 1x5 cannot be pooled'):
        kernels.norm_relu_pool_matmul(x, vector, vector, torch.ones(3, 4, device=DEVICE), (1, 1, 5))


def test_nan_is_not_hidden_by_relu():
    """Loss scaling depends on it: an overflow must be seen."""
    x, vector = rows(6, 4, torch.float16), torch.ones(4, device=DEVICE)
    x[2, 1] = float('nan')
    out, *_ = kernels.norm_relu_matmul(x, vector, vector, torch.ones(3, 4, device=DEVICE))
    assert out[2].isnan().all() and not out[:2].isnan().any()


@pytest.mark.parametrize('fused', [True, False], ids=['one kernel', 'two kernels'])
def test_two_runs_give_the_same_bits(fused, monkeypatch):
    monkeypatch.setattr(matmul_backward, 'has_wgmma', lambda device: fused)
    shape, c, j, k = (3, 8, 8), 40, 48, 12
    m = shape[0] * shape[1] * shape[2]
    x, y, grad, start = (rows(m, width, torch.bfloat16) for width in (c, j, j, c))
    weight, weight3 = torch.randn(j, c, device=DEVICE), torch.randn(k, j, 3, 3, device=DEVICE)
    (scale, shift, mean), (scale2, shift2) = vectors(c, 3), vectors(j)

    def run():
        accumulator, out = start.clone(), torch.empty(m, k, dtype=torch.bfloat16, device=DEVICE)
        inputs = x, scale, shift, mean, weight
        return [
            *kernels.statistics(x),
            *kernels.norm_relu_matmul(x, scale, shift, weight),
            *kernels.norm_relu_conv3x3(y, scale2, shift2, weight3, shape, out),
            *kernels.norm_relu_matmul_backward(*inputs, grad, scale, accumulator),
            *kernels.norm_relu_pool_matmul_backward(*inputs, shape, grad[: m // 4], scale, accumulator),
            accumulator,
            out,
        ]

    assert all(torch.equal(first, second) for first, second in zip(run(), run()))


def test_why_not():
    assert why_not(torch.device(DEVICE), torch.float32) is None
    assert 'not float64' in why_not(torch.device(DEVICE), torch.float64)


def test_why_not_on_other_devices(monkeypatch):
    monkeypatch.setattr(triton.knobs.runtime, 'interpret', False)
    assert 'need a CUDA GPU' in why_not(torch.device('cpu'), torch.float32)


def compiled(*args, timeout):
    """Rows of compile_kernels.py, in a process without the interpreter."""
    script = Path(__file__).parents[3] / 'scripts' / 'compile_kernels.py'
    done = subprocess.run([sys.executable, script, *args], capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def assert_fits(compiled_rows):
    for row in compiled_rows:
        # consumer GPUs of the generation of 8.0 lend a program 99 KiB
        assert row['shared'] <= (99 if row['target'] == 80 else 227) * 1024, row
        # the assembler itself spills up to a few registers to run more programs at a time; more is a tile too large
        assert row['stack'] <= 16, row
        # fewer warps than an eighth of what a multiprocessor holds do not hide the memory's latency
        assert row['occupancy'] >= 1 / 8, row


def test_kernels_compile_for_hopper_without_spilling():
    done = compiled('bfloat16', '--networks', 'densenet121', '--targets', '90', '--kernel', 'norm_relu_', timeout=300)
    names = {row['kernel'] for row in done}
    assert names >= {'norm_relu_matmul', 'norm_relu_matmul_backward', 'norm_relu_conv3x3', 'norm_relu'}
    assert names >= {'norm_relu_max_pool', 'norm_relu_max_pool_backward'}
    assert_fits(done)
    assert all(row['stack'] == 0 for row in done)


@pytest.mark.slow
@pytest.mark.parametrize('dtype', ['float32', 'bfloat16', 'float16'])
@pytest.mark.parametrize('target', ['80', '90', '100'])
def test_all_kernels_compile(target, dtype):
    networks = 'densenet121', 'densenet161', 'densenet121-one-image', 'densenet-bc-100-12', 'densenet-bc-190-40'
    done = compiled(dtype, '--targets', target, '--networks', *networks, timeout=900)
    assert {row['kernel'] for row in done} >= {'grad_input', 'grad_weight', 'sum_partials', 'merge_statistics'}
    assert_fits(done)
