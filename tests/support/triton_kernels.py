"""What the tests of the Triton kernels share: shapes, random operands, and the error that is allowed.

A kernel may err at most twice as much as plain torch that rounds to the same dtype after every operation. Without
Triton, or without its interpreter where there is no GPU, the module that imports this is skipped.
"""

import pytest
import torch

triton = pytest.importorskip('triton')
from triton_interpreter import DEVICE, mend  # noqa: E402

if DEVICE == 'cpu':
    if not triton.knobs.runtime.interpret:
        pytest.skip('Triton was imported without its interpreter, and there is no GPU', allow_module_level=True)
    mend()

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
#: (N, H, W), C, J, k: ragged with growth rate 12; a single small image; several tiles and widths of two powers of two
SIZES = [((2, 7, 5), 28, 48, 12), ((1, 2, 3), 64, 16, 16), ((3, 6, 6), 36, 20, 40)]
sizes = pytest.mark.parametrize('size', SIZES, ids=str)
dtypes = pytest.mark.parametrize('dtype', DTYPES, ids=lambda dtype: str(dtype).removeprefix('torch.'))


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


def sums_of(dz, x, mean):
    """The sums of dz and of dz * (x - mean), in at least float32."""
    dz = dz.to(torch.promote_types(dz.dtype, torch.float32))
    return dz.sum(0), (dz * (x.to(dz.dtype) - mean)).sum(0)
