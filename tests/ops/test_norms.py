"""mmdensenet.ops.norms against torch's batch norm, in float64."""

import pytest
import torch
from torch import nn

from mmdensenet.ops.norms import Norm, affine, extend_norm, new_norm, running_affines, update_running_statistics

EPS = 1e-3


def batch_norm(channels: int, momentum: float = 0.1) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels, eps=EPS, momentum=momentum).double()
    for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        tensor.data = torch.rand(channels, dtype=torch.float64) + 0.5
    return norm


def as_tuple(norm: nn.BatchNorm2d) -> Norm:
    parts = norm.weight.detach(), norm.bias.detach(), norm.running_mean, norm.running_var, norm.num_batches_tracked
    return Norm(*parts, norm.momentum)


def apply(x, scale, shift):
    return x * scale[:, None, None] + shift[:, None, None]


def test_scale_and_shift_of_a_batch():
    norm, x = batch_norm(4), torch.randn(3, 4, 5, 6, dtype=torch.float64)
    var, mean = torch.var_mean(x, (0, 2, 3), correction=0)
    rstd, scale, shift = new_norm(mean, var, EPS, norm.weight, norm.bias)
    torch.testing.assert_close(apply(x, scale, shift), norm(x))
    torch.testing.assert_close((scale, shift), affine(norm.weight, norm.bias, mean, rstd))


def test_statistics_are_written_where_channels_are_new():
    norm, x = batch_norm(5), torch.randn(3, 5, 4, 4, dtype=torch.float64)
    var, mean = torch.var_mean(x, (0, 2, 3), correction=0)
    kept = [mean.clone(), var.clone(), torch.rsqrt(var + EPS)]
    for tensor in kept:
        tensor[3:] = torch.nan
    assert extend_norm(mean[3:4], var[3:4], *kept, 4, EPS) is None
    assert kept[0][4].isnan() and torch.equal(kept[1][:4], var[:4])
    scale, shift = extend_norm(mean[4:], var[4:], *kept, 5, EPS, norm.weight, norm.bias)
    torch.testing.assert_close(apply(x, scale, shift), norm(x))


def test_running_statistics_of_several_norms_at_once():
    norms = [batch_norm(channels).eval() for channels in (3, 7)]
    for norm, (scale, shift) in zip(norms, running_affines(list(map(as_tuple, norms)), EPS, torch.float64)):
        x = torch.randn(2, norm.num_features, 3, 3, dtype=torch.float64)
        torch.testing.assert_close(apply(x, scale, shift), norm(x))


@pytest.mark.parametrize('case', ['alike', 'other momenta', 'one norm twice'])
def test_updates_are_the_norms_own(case):
    ours = [batch_norm(3, 0.1), batch_norm(4, 0.3 if case == 'other momenta' else 0.1)]
    if case == 'one norm twice':
        ours[1] = ours[0]
    theirs = [batch_norm(norm.num_features, norm.momentum) for norm in ours]
    if case == 'one norm twice':
        theirs[1] = theirs[0]
    for norm, copy in zip(ours, theirs):
        copy.load_state_dict(norm.state_dict())
    batches = [torch.randn(2, norm.num_features, 3, 3, dtype=torch.float64) for norm in ours]
    updates = [(as_tuple(norm), x.mean((0, 2, 3)), x.var((0, 2, 3))) for norm, x in zip(ours, batches)]
    update_running_statistics(updates)
    for copy, x in zip(theirs, batches):
        copy(x)
    for norm, copy in zip(ours, theirs):
        torch.testing.assert_close(dict(norm.state_dict()), dict(copy.state_dict()))
