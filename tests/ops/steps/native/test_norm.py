"""Batch norm's passes in C++."""

import torch
from step_checks import check_statistics_far_from_zero

from mmdensenet.ops.steps.native import norm


def test_statistics_do_not_depend_on_the_default_type(native_kernels):
    x = torch.randn(50, 7)
    expected = native_kernels.statistics(x)
    torch.set_default_dtype(torch.float64)
    try:
        got = native_kernels.statistics(x)
    finally:
        torch.set_default_dtype(torch.float32)
    assert all(torch.equal(a, b) for a, b in zip(got, expected))


def test_statistics_far_from_zero(native_kernels):
    check_statistics_far_from_zero(norm)
