"""The Triton kernels of the norm's backward: sums and correction."""

import pytest
import torch
from support.pairwise import pairwise
from support.triton_kernels import DTYPES, SIZES, affine, compare, rows, sums_of, vectors

from mmdensenet.ops.steps.triton import triton_steps as kernels


def plain_correction(dtype, grad, x, mean, rstd, coefficient, sum_grad, sum_centred, total, add):
    normalised = affine(dtype, x - mean, rstd, 0)
    out = (coefficient * (grad - sum_grad / total - normalised * (sum_centred * rstd / total))).to(dtype)
    return (out if add is None else out + add,)


@pytest.mark.parametrize(('size', 'dtype', 'add'), pairwise(SIZES, DTYPES, [False, True]))
def test_batch_norm_backward(size, dtype, add):
    shape, c, _, k = size
    m = shape[0] * shape[1] * shape[2]
    x, grad = rows(m, k, dtype, before=c), rows(m, k, dtype, before=c)
    mean = x.float().mean(0)
    sums = kernels.batch_norm_backward_sums(grad, x, mean)
    compare(sums, lambda _, *given: sums_of(*given), dtype, grad, x, mean)
    direct = rows(m, k, dtype) if add else None
    factors = vectors(k, 4)
    inputs = x, mean, *factors, m
    result = kernels.batch_norm_backward(grad, *inputs, add=direct)
    assert result.dtype == dtype
    compare((result,), plain_correction, dtype, grad, *inputs, direct)
    kernels.batch_norm_backward(grad, *inputs, add=direct, out=grad)
    assert torch.equal(grad, result)
