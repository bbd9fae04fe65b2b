"""Batch norm, ReLU and max pooling of the ImageNet stem as one op that saves only its input for backward.

The feature maps after the stem's convolution are the largest of the network. Batch norm, ReLU and pooling would each
save one of that size, and the pooling its indices; all of them follow from the convolution's output.
"""

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from .block.batched import each_gradient
from .block.block_state import NormState
from .block.contract import without_autocast
from .block.double_backward import by_operations, stand_in, stem_gradients
from .block.plan import StemPlan, plan_stem
from .norms import affine, running, update_running_statistics
from .rows import as_images, as_rows, own_images
from .steps import steps_for


@torch.compiler.disable
def fused_stem(x: Tensor, stem: nn.Sequential) -> Tensor | None:
    """The stem after its convolution, whose output is x: (N, C, H, W) to (N, C, (H + 1) // 2, (W + 1) // 2).

    It is ``max_pool2d(relu(norm(x)), 3, stride=2, padding=1)`` in channels-last order in memory; None where the
    contract does not hold.
    """
    plan = plan_stem(x, stem)
    if plan.reason is not None:
        return None
    with without_autocast(x.device):
        if plan.graph:
            return _Stem.apply(x, plan, plan.norm.weight, plan.norm.bias)[0]
        with torch.no_grad():
            return _forward(x.contiguous(memory_format=torch.channels_last), plan)[0]


@torch.compiler.disable
def evaluate_stem(x: Tensor, stem: nn.Sequential) -> Tensor | None:
    """The whole stem of images (N, C, H, W) including its convolution; None without kernels for it.

    The kernels are for evaluation without gradients; no tensor holds all of the maps between the parts.
    """
    steps = steps_for(x, x.dtype)
    if not steps.evaluates_whole:
        return None
    plan = plan_stem(x, stem, images=True)
    if plan.reason is not None:
        return None
    out = steps.evaluate_stem(x, plan.conv, *_affine(plan, torch.float32))
    n, _, h, w = x.shape
    return own_images(out, (n, (h + 3) // 4, (w + 3) // 4))


def _affine(plan: StemPlan, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    return affine(plan.norm.weight, plan.norm.bias, *running(plan.norm.mean, plan.norm.var, plan.eps, dtype))


def _forward(x: Tensor, plan: StemPlan) -> tuple[Tensor, NormState, Tensor | int]:
    """The output, the norm's state for backward, and the number of values per channel on all ranks."""
    steps = steps_for(x, x.dtype)
    n, _, h, w = x.shape
    rows, norm = as_rows(x), plan.norm
    total = rows.shape[0]
    if plan.training:
        mean, var = steps.statistics(rows)
        if plan.group is not None:
            mean, var, total = plan.group.combine(mean, var, total)
        rstd = torch.rsqrt(var + plan.eps)
        update_running_statistics([(norm, mean, var * (total / (total - 1)))])
    else:
        mean, rstd = running(norm.mean, norm.var, plan.eps, torch.promote_types(x.dtype, torch.float32))
    scale, shift = affine(norm.weight, norm.bias, mean, rstd)
    out = steps.norm_relu_max_pool(rows, scale, shift, (n, h, w))
    return own_images(out, (n, (h + 1) // 2, (w + 1) // 2)), NormState(scale, shift, norm.weight, mean, rstd), total


class _Stem(torch.autograd.Function):
    """x, plan, the norm's weight and bias -> the pooled maps, and the stand-in of x."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, plan: StemPlan, gamma: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
        x = x.contiguous(memory_format=torch.channels_last)
        out, state, ctx.total = _forward(x, plan)
        ctx.plan, ctx.bias = replace(plan, norm=None, conv=None), beta
        ctx.set_materialize_grads(False)
        x_stand_in = stand_in(x)
        # as batch norm saves them, so that backward detects in-place changes; synchronised batch norm does not
        running_statistics = () if plan.group is not None else (plan.norm.mean, plan.norm.var)
        ctx.save_for_backward(x_stand_in, x, *state, *running_statistics)
        return out, x_stand_in

    @staticmethod
    def backward(ctx, grad: Tensor | None, of_stand_in: Tensor | None):
        if grad is None:
            return of_stand_in, None, None, None
        x_stand_in, x, *saved = ctx.saved_tensors
        norm, running_statistics = NormState(*saved[:5]), saved[5:]
        with torch._C.DisableTorchFunction(), without_autocast(x.device):
            if by_operations([grad]):
                grad_x, *others = stem_gradients(ctx.plan, x, norm, x_stand_in, ctx.bias, grad)
            else:
                if not ctx.plan.training:  # the current statistics, as in batch norm's backward
                    mean, rstd = running(*running_statistics, ctx.plan.eps, norm.mean.dtype)
                    norm = norm._replace(mean=mean, rstd=rstd)
                grad_x, *others = each_gradient(partial(_backward, ctx.plan, x, norm, ctx.total), grad)
        return (grad_x if of_stand_in is None else grad_x + of_stand_in), None, *others


def _backward(
    plan: StemPlan, x: Tensor, norm: NormState, total: Tensor | int, grad: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    scale, shift, gamma, mean, rstd = norm
    n, _, h, w = x.shape
    rows = as_rows(x)
    steps = steps_for(rows, rows.dtype)
    grad_rows = as_rows(grad.to(x.dtype).resolve_neg())
    dz, *sums = steps.norm_relu_max_pool_backward(rows, scale, shift, mean, (n, h, w), grad_rows)
    grad_gamma, grad_beta = (sums[1] * rstd).to(gamma.dtype), sums[0].to(gamma.dtype)
    # the current weight, as in batch norm's backward: it may have been changed through .data
    coefficient = gamma.to(rstd.dtype) * rstd
    if plan.training:
        if plan.group is not None:
            sums = plan.group.sum(*sums)
        dz = steps.batch_norm_backward(dz, rows, mean, rstd, coefficient, *sums, total, out=dz)
    else:
        dz = dz.mul_(coefficient)
    return as_images(dz, (n, h, w)), grad_gamma, grad_beta
