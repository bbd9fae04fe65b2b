"""Batch norm's arithmetic that the fused ops share."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from .sync_batch_norm import combine_statistics


@dataclass
class Group:
    """The ranks whose batches are normalised together."""

    process_group: dist.ProcessGroup | None

    def combine(self, mean: Tensor, var: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Mean, biased variance and count of all ranks."""
        return combine_statistics(mean, var, count, self.process_group)

    def sum(self, *sums: Tensor) -> list[Tensor]:
        """The sums over all ranks."""
        together = torch.stack(sums)
        dist.all_reduce(together, group=self.process_group)
        return list(together)


def affine(gamma: Tensor, beta: Tensor, mean: Tensor, rstd: Tensor) -> tuple[Tensor, Tensor]:
    """Batch norm as a scale and a shift per channel, in the statistics' type."""
    scale = gamma.to(mean.dtype) * rstd
    return scale, torch.addcmul(beta.to(mean.dtype), mean, scale, value=-1)


def new_norm(mean: Tensor, var: Tensor, eps: float, gamma: Tensor, beta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Reciprocal deviation, scale and shift (C,) of a norm over channels of this mean and biased variance."""
    rstd = torch.rsqrt(var + eps)
    return rstd, *affine(gamma, beta, mean, rstd)


def extend_norm(
    new_mean: Tensor,
    new_var: Tensor,
    mean: Tensor,
    var: Tensor,
    rstd: Tensor,
    stop: int,
    eps: float,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
) -> tuple[Tensor, Tensor] | None:
    """Write the statistics of the newest channels; return scale and shift of a norm over all channels so far.

    Args:
        new_mean, new_var: (k,), of the channels from stop - k to stop.
        mean, var, rstd: (C,), of which that part is written.
        gamma, beta: (stop,), of the norm; None where there is none.
    """
    new = slice(stop - len(new_mean), stop)
    mean[new], var[new] = new_mean, new_var
    rstd[new] = torch.rsqrt(var[new] + eps)
    return None if gamma is None else affine(gamma, beta, mean[:stop], rstd[:stop])


def update_running_statistics(updates: Sequence[tuple[_BatchNorm, Tensor, Tensor]]) -> None:
    """What the norms themselves would have done with this batch, given its mean and unbiased variance for each."""
    if len({id(norm) for norm, *_ in updates}) < len(updates) or len({norm.momentum for norm, *_ in updates}) > 1:
        for update in updates:
            _update_running_statistics([update])
    else:
        _update_running_statistics(updates)


def _update_running_statistics(updates: Sequence[tuple[_BatchNorm, Tensor, Tensor]]) -> None:
    """For different norms of one momentum: a few calls for all of them."""
    norms, means, variances = zip(*updates)
    torch._foreach_add_([norm.num_batches_tracked for norm in norms], 1)
    for running, batch in (
        ([norm.running_mean for norm in norms], means),
        ([norm.running_var for norm in norms], variances),
    ):
        batch = [new if new.dtype is old.dtype else new.to(old.dtype) for old, new in zip(running, batch)]
        torch._foreach_lerp_(running, batch, norms[0].momentum)
