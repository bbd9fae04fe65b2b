"""The C++ kernels on float32 rows beside their formulas in float64, and beside plain torch."""

import pytest
import torch
from step_checks import CASES, CHECKS, IDS, inputs, rows


@pytest.mark.parametrize('case', CASES, ids=IDS)
@pytest.mark.parametrize('check', CHECKS)
def test_formulas(check, case, native_kernels):
    CHECKS[check](native_kernels, case)


def test_native_is_deterministic_and_keeps_nan(native_kernels):
    _shape, c, j, _k, m = inputs(CASES[0])
    features, weight = rows(m, c), torch.randn(j, c)
    scale, shift = torch.randn(c), torch.randn(c)
    first, second = (native_kernels.norm_relu_matmul(features, scale, shift, weight) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second))
    features[3, 5] = float('nan')
    assert native_kernels.norm_relu_matmul(features, scale, shift, weight)[0][3].isnan().all()


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
