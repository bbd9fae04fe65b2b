"""The fused block's gradients beside finite differences, and in low precision beside the reference's."""

import copy

import pytest
import torch
from fused_blocks import pair, random


def test_gradcheck_with_dropout():
    """With the same random numbers in each call the block is one smooth function almost everywhere."""
    _, block = pair(num_layers=2, in_channels=3, growth_rate=2, drop_rate=0.3, bottleneck_drop_rate=0.4)

    def function(x, *parameters):
        torch.manual_seed(0)
        names = dict(zip(dict(block.named_parameters()), parameters))
        return torch.func.functional_call(block, names, x)

    x = random(2, 3, 3, 2).requires_grad_()
    assert torch.autograd.gradcheck(function, (x, *block.parameters()), atol=1e-7)


def relative_rms(results, exact) -> float:
    """The root mean square of the tensors' relative errors: a single small gradient's rounding is chance."""
    errors = [((a - b).norm() / b.norm()).item() for a, b in zip(results, exact)]
    return (sum(e * e for e in errors) / len(errors)) ** 0.5


def results_of(block, x, weight, dtype, autocast=False, statistics=True) -> list[torch.Tensor]:
    """Output, gradients and running statistics of a copy of the block, in float64."""
    block = copy.deepcopy(block).to(torch.float32 if autocast else dtype)
    value = x.to(next(block.parameters()).dtype, copy=True).requires_grad_()
    with torch.autocast('cpu', dtype=torch.bfloat16, enabled=autocast):
        # the first convolution of a network would have made it bfloat16
        out = block(value.to(dtype))
    assert out.dtype == dtype
    out.backward(weight.to(dtype))
    gradients = [p.grad for p in block.parameters()]
    running = [b for name, b in block.named_buffers() if 'running' in name and statistics]
    return [tensor.detach().double() for tensor in (out, value.grad, *gradients, *running)]


@pytest.mark.parametrize('kernels', ['plain', 'native'])
@pytest.mark.parametrize('bottleneck', [True, False], ids=['bottleneck', 'plain'])
@pytest.mark.parametrize('autocast', [True, False], ids=['autocast', 'bfloat16'])
def test_bfloat16_errs_no_more_than_twice_as_much(kernels, autocast, bottleneck, native_kernels, monkeypatch):
    """Against float64, beside the reference in bfloat16."""
    settings = dict(num_layers=6, in_channels=16, growth_rate=8, bn_size=4, bottleneck=bottleneck)
    blocks = pair(**settings)
    x, weight = random(4, 16, 10, 9) + 2, random(4, 64, 10, 9, seed=1)
    exact = results_of(blocks[0], x, weight, torch.float64)
    monkeypatch.setenv('MMDENSENET_KERNELS', kernels)
    errors = [relative_rms(results_of(block, x, weight, torch.bfloat16, autocast), exact) for block in blocks]
    assert errors[1] <= 2 * errors[0], errors
    # dropout is random: that it runs and trains in this type is all that can be compared
    blocks[1].block[0].drop_rate = blocks[1].block[1].bottleneck_drop_rate = 0.3
    assert results_of(blocks[1], x, weight, torch.bfloat16, autocast)[0].isfinite().all()


def test_float32_errs_no_more_than_twice_as_much():
    """Against float64, beside the reference; the mean of the features is far from zero, as behind a ReLU."""
    blocks = pair(num_layers=6, in_channels=16, growth_rate=8)
    x, weight = random(4, 16, 14, 14) + 10, random(4, 64, 14, 14, seed=1)
    exact = results_of(blocks[0], x, weight, torch.float64, statistics=False)
    errors = [relative_rms(results_of(b, x, weight, torch.float32, statistics=False), exact) for b in blocks]
    assert errors[1] <= 2 * errors[0], errors
