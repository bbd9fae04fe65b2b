"""What runs in two gloo processes. A module of its own, so that processes can import it that are not forked."""

import os
import tempfile

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from mmdensenet.models import DenseNet
from mmdensenet.ops import sync_batch_norm

SMALL = dict(growth_rate=4, depths=[2, 2], init_channels=8)


def in_two_processes(function, *args):
    """Run ``function(rank, *args)`` in two gloo processes and return what they put into a dict."""
    with tempfile.TemporaryDirectory() as folder:
        # a process that has used a GPU cannot fork one that differentiates
        start_method = 'spawn' if torch.cuda.is_available() else 'fork'
        mp.start_processes(_start, (folder, function, args), nprocs=2, start_method=start_method)
        return [torch.load(os.path.join(folder, f'{rank}.pt')) for rank in range(2)]


def _start(rank, folder, function, args):
    torch.set_num_threads(1)
    dist.init_process_group('gloo', init_method=f'file://{folder}/store', rank=rank, world_size=2)
    torch.save(function(rank, *args), os.path.join(folder, f'{rank}.pt'))
    dist.destroy_process_group()


def data(batches, channels=3):
    generator = torch.Generator().manual_seed(0)
    parts = [torch.randn(n, channels, 4, 5, dtype=torch.float64, generator=generator) * 3 + 100 for n in batches]
    weights = [torch.randn(p.shape, dtype=torch.float64, generator=generator) for p in parts]
    return parts, weights


def run_op(rank, batches):
    parts, weights = data(batches)
    x = parts[rank].clone().requires_grad_()
    gamma = torch.tensor([1.5, -0.5, 2.0], dtype=torch.float64, requires_grad=True)
    beta = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64, requires_grad=True)
    mean, var = torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    out = sync_batch_norm(x, gamma, beta, mean, var, 0.1, 1e-5)
    out.backward(weights[rank])
    return dict(out=out.detach(), x=x.grad, gamma=gamma.grad, beta=beta.grad, mean=mean, var=var)


def train(rank, norm, steps, batches, engine='fused'):
    """Some steps of DistributedDataParallel; the loss is the mean over the rank's batch."""
    torch.manual_seed(0)
    model = DenseNet(SMALL, stem='cifar', norm_cfg=dict(type=norm), engine=engine).double()
    wrapped = nn.parallel.DistributedDataParallel(model) if rank is not None else model
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for step in range(steps):
        generator = torch.Generator().manual_seed(step)
        images = torch.randn(sum(batches), 3, 8, 8, dtype=torch.float64, generator=generator)
        weight = torch.randn(sum(batches), *[1] * 3, dtype=torch.float64, generator=generator)
        if rank is not None:
            images, weight = images.split(batches)[rank], weight.split(batches)[rank]
        loss = (wrapped(images)[0] * weight).sum((1, 2, 3)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.state_dict()
