"""Batch normalisation over all ranks, in plain torch: for devices that torch's own does not cover (CPU, gloo)."""

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable


def sync_batch_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    momentum: float,
    eps: float,
    group: dist.ProcessGroup | None = None,
) -> Tensor:
    """Normalise ``x`` with the mean and variance over the batches of all ranks.

    Every rank must call it; the number of samples may differ. The gradient of ``x`` includes the losses of all ranks;
    those of ``weight`` and ``bias`` are this rank's part, which DistributedDataParallel averages.

    Args:
        x: (N, C, ...), any floating dtype; statistics are kept in at least float32.
        weight, bias: (C,), or None without affine parameters.
        running_mean, running_var: (C,), updated in place with ``momentum`` (the variance unbiased), or None.

    Returns:
        A tensor of x's shape and dtype.

    Raises:
        ValueError: if all ranks together give one value per channel, whose variance is not defined.
    """
    return _SyncBatchNorm.apply(x, weight, bias, running_mean, running_var, momentum, eps, group)


def combine_statistics(
    mean: Tensor, var: Tensor, count: int, group: dist.ProcessGroup | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and biased variance (C,) of all ranks' values together, and their number, from those of each rank's.

    The ranks exchange mean, sum of squared deviations and count once, combined as by Chan et al. (1979): sums of
    squares would suffer from cancellation.

    Raises:
        ValueError: if all ranks together have one value per channel, whose variance is not defined.
    """
    local = torch.cat([mean, var * count, mean.new_tensor([count])])
    parts = [torch.empty_like(local) for _ in range(dist.get_world_size(group))]
    dist.all_gather(parts, local, group=group)
    means, deviations, counts = torch.stack(parts).split([len(mean), len(mean), 1], dim=1)
    total = counts.sum()
    if total <= 1:
        raise ValueError(f'expected more than 1 value per channel over all ranks, got {int(total)}')
    mean = (means * counts).sum(0) / total
    return mean, (deviations.sum(0) + (counts * (means - mean) ** 2).sum(0)) / total, total


class _SyncBatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias, running_mean, running_var, momentum, eps, group):
        dtype = torch.promote_types(x.dtype, torch.float32)
        x_stats = x.to(dtype)
        axes = [0, *range(2, x.dim())]
        count = x.numel() // x.size(1)
        if count:
            var, mean = torch.var_mean(x_stats, axes, correction=0)
        else:
            var = mean = x_stats.new_zeros(x.size(1))

        mean, var, total = combine_statistics(mean, var, count, group)

        if running_mean is not None:
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            running_var.lerp_((var * total / (total - 1)).to(running_var.dtype), momentum)

        shape = [1, -1] + [1] * (x.dim() - 2)
        inv_std = torch.rsqrt(var + eps)
        scale = inv_std if weight is None else inv_std * weight.to(dtype)
        shift = -mean * scale if bias is None else bias.to(dtype) - mean * scale
        ctx.save_for_backward(x, weight, mean, inv_std, total)
        ctx.group, ctx.axes, ctx.shape, ctx.has_bias = group, axes, shape, bias is not None
        return (x_stats * scale.view(shape) + shift.view(shape)).to(x.dtype)

    @staticmethod
    @once_differentiable  # autograd does not record the exchange between the ranks
    def backward(ctx, grad):
        x, weight, mean, inv_std, total = ctx.saved_tensors
        shape, axes = ctx.shape, ctx.axes
        grad_stats = grad.to(mean.dtype)
        normalised = (x.to(mean.dtype) - mean.view(shape)) * inv_std.view(shape)
        sum_grad = grad_stats.sum(axes)
        sum_grad_normalised = (grad_stats * normalised).sum(axes)

        grad_x = None
        if ctx.needs_input_grad[0]:
            # each rank's loss depends on the inputs of all ranks through the shared statistics
            sums = torch.cat([sum_grad, sum_grad_normalised])
            dist.all_reduce(sums, group=ctx.group)
            mean_grad, mean_grad_normalised = (sums / total).chunk(2)
            scale = inv_std if weight is None else inv_std * weight.to(inv_std.dtype)
            grad_x = grad_stats - mean_grad.view(shape) - normalised * mean_grad_normalised.view(shape)
            grad_x = (grad_x * scale.view(shape)).to(x.dtype)
        grad_weight = None if weight is None else sum_grad_normalised.to(weight.dtype)
        grad_bias = sum_grad.to(weight.dtype if weight is not None else grad.dtype) if ctx.has_bias else None
        return grad_x, grad_weight, grad_bias, None, None, None, None, None
