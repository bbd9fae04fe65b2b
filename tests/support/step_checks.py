"""The steps of a block beside their formulas in float64: what plain torch and the C++ kernels have to pass."""

from functools import partial
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

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


def without_storage(tensor: Tensor) -> Tensor:
    tensor.untyped_storage().resize_(0)
    return tensor


def inputs(case):
    torch.manual_seed(0)
    shape, c, j, k = case
    m = shape[0] * shape[1] * shape[2]
    return shape, c, j, k, m


def check_matmul(steps: Steps, case):
    _shape, c, j, _, m = inputs(case)
    features, weight = rows(m, c, 7), torch.randn(j, c)
    scale, shift = torch.randn(c), torch.randn(c)
    out, mean, var = steps.norm_relu_matmul(features, scale, shift, weight)
    want = (features.double() * scale + shift).relu() @ weight.double().t()
    assert_close(out, want, 'out')
    assert_close(mean, want.mean(0), 'mean')
    assert_close(var, want.var(0, correction=0), 'var')
    assert steps.norm_relu_matmul(features, scale, shift, weight, measure=False)[1:] == (None, None)


def check_matmul_backward(steps: Steps, case, overwrite: bool, pooled: bool):
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


def check_convolution(steps: Steps, case, with_mask: bool):
    shape, _, j, k, m = inputs(case)
    y, weight = rows(m, j, 3), torch.randn(k, j, 3, 3)
    scale, shift, mean = (torch.randn(j) for _ in range(3))

    def convolve(z, weight):
        images = z.relu().view(*shape, j).permute(0, 3, 1, 2)
        return F.conv2d(images, weight, padding=1).permute(0, 2, 3, 1).reshape(m, k)

    whole = torch.full((m, k + 2), 7.0)
    mask = torch.randint(0, 2, (m, k)) * 2.0 if with_mask else None
    out_mean, out_var = steps.norm_relu_conv3x3(y, scale, shift, weight, shape, whole[:, 1:-1], mask)

    f = y.double()
    z = (f * scale + shift).requires_grad_()
    weights = weight.double().requires_grad_()
    conv = convolve(z, weights)
    want = conv.detach() if mask is None else conv.detach() * mask
    assert_close(whole[:, 1:-1], want, 'out')
    assert (whole[:, [0, -1]] == 7).all(), 'written beside its columns'
    assert_close(out_mean, want.mean(0), 'mean')
    assert_close(out_var, want.var(0, correction=0), 'var')
    steps.norm_relu_conv3x3(y, None, shift, weight, shape, whole[:, 1:-1], measure=False)
    assert_close(whole[:, 1:-1], convolve(f + shift, weight.double()))

    grad = rows(m, k, 4)
    (conv * grad).sum().backward()
    grad_z, grad_weight, sum_dz, centred = steps.norm_relu_conv3x3_backward(y, scale, shift, mean, weight, shape, grad)
    assert_close(grad_z, z.grad, 'grad_z')
    assert_close(grad_weight, weights.grad, 'weight')
    assert_close(sum_dz, z.grad.sum(0), 'sum')
    assert_close(centred, (z.grad * (f - mean)).sum(0), 'centred')


def check_batch_norm(steps: Steps, case):
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


def check_max_pool(steps: Steps, case):
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


def check_statistics_far_from_zero(steps):
    """Channels whose mean is a thousand times their deviation."""
    torch.manual_seed(0)
    x = torch.randn(5000, 20) + 1000
    exact = x.double()
    mean, var = steps.statistics(x)
    assert_close(mean, exact.mean(0), tolerance=1e-6)
    assert_close(var, exact.var(0, correction=0), tolerance=1e-3)


#: each is called with steps and one of the cases
CHECKS = {
    'matmul': check_matmul,
    **{
        f'{"pooled" if pooled else "matmul"} backward, {"overwrite" if overwrite else "add"}': partial(
            check_matmul_backward, overwrite=overwrite, pooled=pooled
        )
        for overwrite, pooled in product((False, True), repeat=2)
    },
    'convolution': partial(check_convolution, with_mask=False),
    'convolution, dropout': partial(check_convolution, with_mask=True),
    'batch norm': check_batch_norm,
    'max pool': check_max_pool,
}
