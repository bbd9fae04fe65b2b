"""Synchronised batch norm on CPUs: two gloo processes against one with both batches, in float64."""

import pytest
import torch
import torch.distributed as dist
from helpers import assert_same
from torch import nn
from two_processes import data, in_two_processes, run_op, train

from mmdensenet.models.densenet import DenseBlock


@pytest.mark.parametrize('batches', [(3, 3), (4, 1)], ids=['equal', 'ragged'])
def test_op_equals_one_large_batch(batches):
    ranks = in_two_processes(run_op, batches)
    parts, weights = data(batches)
    x = torch.cat(parts).requires_grad_()
    norm = nn.BatchNorm2d(3).double()
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.5, -0.5, 2.0], dtype=torch.float64))
        norm.bias.copy_(torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64))
    out = norm(x)
    out.backward(torch.cat(weights))
    assert_same(torch.cat([r['out'] for r in ranks]), out.detach())
    assert_same(torch.cat([r['x'] for r in ranks]), x.grad)
    assert_same(sum(r['gamma'] for r in ranks), norm.weight.grad)
    assert_same(sum(r['beta'] for r in ranks), norm.bias.grad)
    for r in ranks:
        assert_same(r['mean'], norm.running_mean)
        assert_same(r['var'], norm.running_var)


@pytest.mark.parametrize('engine', ['fused', 'reference'])
def test_training_equals_one_process_with_both_batches(engine):
    """Three steps; with the fused block the statistics of the new channels are what is exchanged."""
    ranks = in_two_processes(train, 'SyncBN', 3, (4, 4), engine)
    single = train(None, 'BN', 3, (4, 4), 'reference')
    assert ranks[0].keys() == single.keys()
    for name, value in single.items():
        if value.is_floating_point():
            assert_same(ranks[0][name], value, 1e-10, name)
            assert torch.equal(ranks[0][name], ranks[1][name]), name
        else:
            assert torch.equal(ranks[0][name], value), name
    local = in_two_processes(train, 'BN', 3, (4, 4))
    name = 'stages.0.block.0.norm1.running_mean'
    assert not torch.allclose(local[0][name], single[name]), 'without synchronisation it must differ'


@pytest.fixture
def one_rank():
    dist.init_process_group('gloo', store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize('engine', ['fused', 'reference'])
def test_a_second_derivative_is_refused(engine, one_rank):
    """The exchange between the ranks would be missing from it."""
    block = DenseBlock(2, 4, 2, 4, norm_cfg=dict(type='SyncBN'), engine=engine).double()
    x = torch.randn(2, 4, 3, 3, dtype=torch.float64, requires_grad=True)
    (grad,) = torch.autograd.grad(block(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match='once_differentiable'):
        grad.sum().backward()
