"""Which steps are chosen, and how they compare."""

import pytest
import torch
import torch.nn.functional as F

from mmdensenet.ops.steps import steps_for
from mmdensenet.ops.steps.plain import plain_steps as plain


def test_kernels_that_cannot_be_used_are_an_error(monkeypatch):
    monkeypatch.setenv('MMDENSENET_KERNELS', 'native')
    with pytest.raises(
        RuntimeError, match='MMDENSENET_KERNELS=native cannot be used: the C\\+\\+ kernels are for float32 and'
    ):
        steps_for(torch.zeros(1), torch.float64)
    monkeypatch.setenv('MMDENSENET_KERNELS', 'fast')
    with pytest.raises(RuntimeError, match='MMDENSENET_KERNELS=fast: choose one of auto, plain'):
        steps_for(torch.zeros(1), torch.float32)


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
