"""The C++ passes on bfloat16 rows beside plain torch."""

import pytest
import torch
from step_checks import CASES, IDS, inputs, rows
from torch import Tensor

from mmdensenet.ops.steps import native
from mmdensenet.ops.steps.plain import plain_steps as plain


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
