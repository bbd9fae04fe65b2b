"""Batch norm, ReLU and max pooling of the ImageNet stem as one op that keeps its input alone for backward.

The maps behind the stem's convolution are the largest of the network: batch norm, ReLU and pooling would each keep one
of that size, and the pooling its indices. All of them follow from the convolution's result.
"""

from types import ModuleType

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.nn.modules.batchnorm import _BatchNorm

from .applicability import compute_dtype, differentiable, stem_is_evaluable, synchronised, without_autocast
from .norms import Group, affine, update_running_statistics
from .rows import as_images, as_rows
from .steps import steps_for


@torch.compiler.disable
def fused_stem(x: Tensor, norm: _BatchNorm) -> Tensor:
    """``max_pool2d(relu(norm(x)), 3, stride=2, padding=1)``, (N, C, H, W) to (N, C, (H + 1) // 2, (W + 1) // 2).

    :func:`~mmdensenet.ops.stem_is_fusable` must have said yes. The result is in channels-last order in memory.

    Raises:
        RuntimeError: when its gradient is to be differentiated again.
    """
    dtype = compute_dtype(x)
    wide = torch.promote_types(dtype, torch.float32)
    with without_autocast(x.device):
        x = x.to(dtype).contiguous(memory_format=torch.channels_last)
        steps = steps_for(x, dtype)
        if norm.training:
            group = Group(norm.process_group) if synchronised(norm) else None
            out, mean, var, total = _Stem.apply(x, steps, norm.eps, group, norm.weight, norm.bias, None, None)
            with torch.no_grad():
                update_running_statistics([(norm, mean, var * (total / (total - 1)))])
            return out
        running = norm.running_mean.to(wide), torch.rsqrt(norm.running_var.to(wide) + norm.eps)
        if torch.is_grad_enabled() and differentiable(x, [norm]):
            return _Stem.apply(x, steps, norm.eps, None, norm.weight, norm.bias, *running)[0]
        n, _, h, w = x.shape
        out = steps.norm_relu_max_pool(as_rows(x), *affine(norm.weight, norm.bias, *running), (n, h, w))
        return as_images(out, (n, (h + 1) // 2, (w + 1) // 2))


@torch.compiler.disable
def evaluate_stem(x: Tensor, stem: nn.Sequential) -> Tensor | None:
    """The whole stem, its convolution too, of images (N, C, H, W) where there are kernels for that, or None.

    They are for evaluation without gradients; the maps between its parts then never exist whole.
    """
    if not stem_is_evaluable(x, stem):
        return None
    whole = getattr(steps_for(x, x.dtype), 'evaluate_stem', None)
    if whole is None:
        return None
    conv, norm = stem[0], stem[1]
    wide = torch.promote_types(x.dtype, torch.float32)
    rstd = torch.rsqrt(norm.running_var.to(wide) + norm.eps)
    out = whole(x, conv.weight, *affine(norm.weight, norm.bias, norm.running_mean.to(wide), rstd))
    n, _, h, w = x.shape
    return as_images(out, (n, (h + 3) // 4, (w + 3) // 4))


class _Stem(torch.autograd.Function):
    """x, norm's settings and parameters, mean and rstd or None for the batch's -> out, mean, biased variance, count."""

    @staticmethod
    def forward(ctx: FunctionCtx, x, steps: ModuleType, eps: float, group: Group | None, gamma, beta, mean, rstd):
        n, _, h, w = x.shape
        rows = as_rows(x)
        total, var, training = rows.shape[0], None, mean is None
        if training:
            mean, var = steps.statistics(rows)
            if group is not None:
                mean, var, total = group.combine(mean, var, total)
            rstd = torch.rsqrt(var + eps)
        out = steps.norm_relu_max_pool(rows, *affine(gamma, beta, mean, rstd), (n, h, w))
        ctx.steps, ctx.group, ctx.total, ctx.training = steps, group, total, training
        ctx.save_for_backward(x, gamma, beta, mean, rstd)
        statistics = (mean, var, torch.as_tensor(total, dtype=mean.dtype)) if training else (None,) * 3
        ctx.mark_non_differentiable(*(s for s in statistics if s is not None))
        ctx.set_materialize_grads(False)
        return as_images(out, (n, (h + 1) // 2, (w + 1) // 2)), *statistics

    @staticmethod
    def backward(ctx, grad: Tensor | None, *_):
        if torch.is_grad_enabled():
            raise RuntimeError("the fused stem cannot be differentiated twice; use DenseNet(engine='reference')")
        if grad is None:
            return (None,) * 8
        x, gamma, beta, mean, rstd = ctx.saved_tensors
        n, _, h, w = x.shape
        with without_autocast(x.device):
            scale, shift = affine(gamma, beta, mean, rstd)
            rows = as_rows(x)
            dz, *sums = ctx.steps.norm_relu_max_pool_backward(
                rows, scale, shift, mean, (n, h, w), as_rows(grad.to(x.dtype))
            )
            grad_gamma, grad_beta = (sums[1] * rstd).to(gamma.dtype), sums[0].to(beta.dtype)
            if ctx.training:
                if ctx.group is not None:
                    sums = ctx.group.sum(*sums)
                dz = ctx.steps.batch_norm_backward(dz, rows, mean, rstd, scale, *sums, ctx.total, out=dz)
            else:
                dz = dz.mul_(scale)
        return as_images(dz, (n, h, w)), None, None, None, grad_gamma, grad_beta, None, None
