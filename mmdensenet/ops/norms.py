"""Batch norm's arithmetic that the fused ops share."""

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


def update_running_statistics(norm: _BatchNorm, mean: Tensor, var: Tensor, total: Tensor) -> None:
    """What the norm itself would have done with this batch: ``var`` is biased, running_var is not."""
    norm.num_batches_tracked.add_(1)
    norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), norm.momentum)
    norm.running_var.lerp_((var * (total / (total - 1))).to(norm.running_var.dtype), norm.momentum)
