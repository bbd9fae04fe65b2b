"""Batch norm's arithmetic that the fused ops share."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from .sync_batch_norm import combine_statistics


class Norm(NamedTuple):
    """The tensors and momentum of a batch norm; ``mean``, ``var`` and ``batches`` are its running statistics."""

    weight: Tensor
    bias: Tensor
    mean: Tensor
    var: Tensor
    batches: Tensor
    momentum: float


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
        mean, var, rstd: (C,); these channels are written.
        gamma, beta: (stop,), of the norm, or None without a norm.
    """
    new = slice(stop - len(new_mean), stop)
    mean[new], var[new] = new_mean, new_var
    rstd[new] = torch.rsqrt(var[new] + eps)
    return None if gamma is None else affine(gamma, beta, mean[:stop], rstd[:stop])


def running(mean: Tensor, var: Tensor, eps: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Copies of a running mean and its reciprocal standard deviation in this type."""
    return mean.to(dtype, copy=True), torch.rsqrt(var.to(dtype) + eps)


def running_affines(norms: Sequence[Norm], eps: float, dtype: torch.dtype) -> Iterator[tuple[Tensor, Tensor]]:
    """Scale and shift (C,) of each norm with its running statistics, computed for all norms in a few calls."""
    weights, biases, means, variances = (
        [tensor if tensor.dtype is dtype else tensor.to(dtype) for tensor in tensors]
        for tensors in list(zip(*norms))[:4]
    )
    scales = torch._foreach_mul(weights, torch._foreach_rsqrt(torch._foreach_add(variances, eps)))
    return zip(scales, torch._foreach_addcmul(biases, means, scales, value=-1))


def update_running_statistics(updates: Sequence[tuple[Norm, Tensor, Tensor]]) -> None:
    """Update running statistics as the norms would, given the batch's mean and unbiased variance for each norm."""
    norms, means, variances = zip(*updates)
    alike = len({(norm.momentum, norm.mean.dtype) for norm in norms}) == 1
    # compared by memory, which views share; tensors on 'meta' have none
    shared = any(len({b.data_ptr() or id(b) for b in buffers}) < len(norms) for buffers in list(zip(*norms))[2:4])
    if shared or not alike:
        for update in updates:
            update_running_statistics([update])
        return
    momentum = norms[0].momentum
    torch._foreach_add_([norm.batches for norm in norms], 1)
    for old, new in (([norm.mean for norm in norms], means), ([norm.var for norm in norms], variances)):
        # no lerp, which turns infinity into NaN; the sum is in the wider of the two types
        scaled = torch._foreach_mul(new, momentum)
        # .data: torch's batch norm does not report this update to autograd either, which would refuse backward
        torch._foreach_copy_([t.data for t in old], torch._foreach_add(scaled, old, alpha=1 - momentum))
