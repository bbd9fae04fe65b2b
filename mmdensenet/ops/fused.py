"""The dense block without concatenation: the same function as the reference, to rounding.

All features live in one channels-last buffer of shape (M, C0 + L*k), M = N*H*W. Layer l reads its first C_l columns and
writes the next k. Three things follow (arXiv:1608.06993 has the function, the rest is algebra):

- The statistics that batch norm needs are those of the channel, whoever normalises it: they are computed once, when
  the channel is written. Each layer's running statistics are updated from the shared values.
- relu(norm1(features)) is an affine map per channel and a maximum. It is formed for a few rows at a time, while they
  are in the cache, and consumed by the convolution at once; it never exists whole, in forward or in backward.
- The backward of batch norm is linear in gamma * dz, so the terms of all consumers of a channel are summed first and
  the correction by the means is applied once, when the channel's own layer has its turn.

The transition behind the block is one more consumer. Kept for backward: the buffer, its statistics, and each layer's
bottleneck output, so memory is linear in depth.

This module says in which order what is computed; the steps themselves are functions on rows in :mod:`.plain`,
:mod:`.native` (C++ for CPUs) and :mod:`.triton` (CUDA GPUs), which :mod:`.steps` chooses.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from .applicability import compute_dtype, differentiable, synchronised, without_autocast
from .evaluate import evaluate_block
from .norms import Group, affine, update_running_statistics
from .reference import DenseLayerModules, TransitionModules
from .rows import as_images, as_rows, empty_like_buffer, new_buffer
from .steps import steps_for


@torch.compiler.disable
def fused_dense_block(x: Tensor, layers: Sequence[DenseLayerModules]) -> Tensor:
    """Apply the layers of one block; arguments and result are those of :func:`~mmdensenet.ops.dense_block`.

    The result is in channels-last order in memory, and in autocast's type where that is enabled.
    :func:`~mmdensenet.ops.why_not_fused` must have given None. torch.compile breaks its graph around it.

    Raises:
        RuntimeError: when its gradient is to be differentiated again; ``engine='reference'`` can.
    """
    return _run(x, layers, None, True)[0]


@torch.compiler.disable
def fused_dense_stage(
    x: Tensor, layers: Sequence[DenseLayerModules], transition: TransitionModules, keep_features: bool = False
) -> tuple[Tensor | None, Tensor]:
    """Apply the layers of one block and the transition behind it, which reads the block's buffer.

    Args:
        x: (N, C0, H, W).
        layers: as in :func:`fused_dense_block`.
        transition: norm, ReLU, 1x1 convolution and 2x2 average pooling.
        keep_features: return the block's features too.

    Returns:
        The features (N, C0 + L * k, H, W), or None, and the transition's output (N, J, H // 2, W // 2).

    Raises:
        RuntimeError: as :func:`fused_dense_block`.
    """
    return _run(x, layers, transition, keep_features)


def _run(
    x: Tensor, layers: Sequence[DenseLayerModules], transition: TransitionModules | None, keep_features: bool
) -> tuple[Tensor | None, Tensor | None]:
    training = layers[0].norm1.training
    modules = [*layers] if transition is None else [*layers, transition]
    # autocast has had its say in the type of the buffer; inside, every step names its types
    dtype = compute_dtype(x)
    with without_autocast(x.device):
        drop_rates = [layer.drop_rate if layer.training else 0.0 for layer in layers]
        inner_rates = [layer.bottleneck_drop_rate if layer.training else 0.0 for layer in layers]
        fixed = not training and not any(drop_rates + inner_rates)
        if fixed and not (torch.is_grad_enabled() and differentiable(x, modules)):
            return evaluate_block(x.to(dtype), layers, transition, keep_features)
        first = layers[0].norm1
        plan = _Plan(
            depth=len(layers),
            bottleneck=layers[0].conv2 is not None,
            training=training,
            eps=first.eps,
            drop_rates=drop_rates,
            inner_drop_rates=inner_rates,
            transition=transition is not None,
            keep_features=keep_features,
            group=Group(getattr(first, 'process_group', None)) if training and synchronised(first) else None,
            steps=steps_for(x, dtype),
        )
        running = [] if training else [b for norm in _norms(modules) for b in (norm.running_mean, norm.running_var)]
        parameters = [p for module in modules for p in _parameters(module)]
        features, out, *statistics = _FusedBlock.apply(x.to(dtype), plan, *parameters, *running)
        if training:
            with torch.no_grad():
                _update_all_statistics(layers, transition, statistics)
    return features, out


@dataclass
class _Plan:
    """What a block computes, but for its tensors."""

    depth: int
    bottleneck: bool
    training: bool  # the norms use the batch's statistics
    eps: float
    drop_rates: list[float]
    inner_drop_rates: list[float]  # of the bottlenecks
    transition: bool
    keep_features: bool
    group: Group | None
    steps: ModuleType

    @property
    def per_layer(self) -> int:
        """Parameters of one layer."""
        return 6 if self.bottleneck else 3


def _norms(modules: Sequence) -> list:
    """The norms in the order of :func:`_parameters`."""
    norms = []
    for module in modules:
        norms.append(module.norm1 if hasattr(module, 'norm1') else module.norm)
        if getattr(module, 'norm2', None) is not None:
            norms.append(module.norm2)
    return norms


def _parameters(module: DenseLayerModules | TransitionModules) -> tuple[Tensor, ...]:
    if not hasattr(module, 'norm1'):
        return module.norm.weight, module.norm.bias, module.conv.weight
    first = module.norm1.weight, module.norm1.bias, module.conv1.weight
    return first if module.norm2 is None else (*first, module.norm2.weight, module.norm2.bias, module.conv2.weight)


class _FusedBlock(torch.autograd.Function):
    """x, plan, parameters, in evaluation mode running means and variances -> features, transition's output, statistics.

    The statistics, in training, are mean and biased variance of all channels and the number of values behind them, then
    mean and variance of each layer's bottleneck.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, plan: _Plan, *tensors: Tensor):
        steps, depth, per_layer = plan.steps, plan.depth, plan.per_layer
        n, c0, h, w = x.shape
        shape = (n, h, w)
        k = tensors[per_layer - 1].shape[0]
        channels = c0 + depth * k
        buffer = new_buffer(x, channels)
        rows = buffer.shape[0]
        wide = torch.promote_types(x.dtype, torch.float32)
        #: mean, biased variance and reciprocal deviation of all channels, written as the channels are
        shared = mean, var, rstd = tuple(x.new_empty(channels, dtype=wide) for _ in range(3))
        used = per_layer * depth + 3 * plan.transition
        parameters, running = tensors[:used], list(tensors[used:])
        #: rows of all ranks
        total: int | Tensor = rows

        def share(m: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
            nonlocal total
            if plan.group is not None:
                m, v, total = plan.group.combine(m, v, rows)
            return m, v

        def next_norm() -> tuple[Tensor, Tensor]:
            """Mean and reciprocal deviation of the next norm in evaluation mode."""
            return running.pop(0).to(wide), torch.rsqrt(running.pop(0).to(wide) + plan.eps)

        def first_norm(c: int, gamma: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
            """Scale and shift of the norm that reads the first c channels; its mean and deviation go to ``norms1``."""
            if plan.training:
                norms1.append((mean[:c], rstd[:c]))
                return steps.extend_norm(*share(*stats), *shared, c, plan.eps, gamma, beta)
            norms1.append(next_norm())
            return affine(gamma, beta, *norms1[-1])

        #: statistics of the channels that were written last
        stats = steps.statistics(buffer[:, :c0]) if plan.training else ()
        ys, kept, masks, norms1, norms2, affines1, affines2, bottlenecks = [], [], [], [], [], [], [], []
        for i in range(depth):
            gamma1, beta1, w1, *second = parameters[per_layer * i : per_layer * (i + 1)]
            c = c0 + i * k
            features, new = buffer[:, :c], buffer[:, c : c + k]
            affines1.append(first_norm(c, gamma1, beta1))
            scale, shift = affines1[-1]
            mask = _dropout_mask(new, plan.drop_rates[i])
            if plan.bottleneck:
                gamma2, beta2, w2 = second
                rate = plan.inner_drop_rates[i]
                y, *stats = steps.norm_relu_matmul(
                    features, scale, shift, w1.flatten(1), measure=plan.training and not rate
                )
                kept.append(_drop(y, rate))
                if plan.training and rate:
                    stats = steps.statistics(y)
                if plan.training:
                    mean2, var2 = share(*stats)
                    bottlenecks += [mean2, var2]
                    rstd2, *affine2 = steps.new_norm(mean2, var2, plan.eps, gamma2, beta2)
                    norms2.append((mean2, rstd2))
                else:
                    norms2.append(next_norm())
                    affine2 = affine(gamma2, beta2, *norms2[-1])
                affines2.append(affine2)
                stats = steps.norm_relu_conv3x3(y, *affine2, w2, shape, new, mask, measure=plan.training)
                ys.append(y)
            else:
                stats = steps.norm_relu_conv3x3(features, scale, shift, w1, shape, new, mask, measure=plan.training)
            masks.append(mask)

        out = None
        if plan.transition:
            gamma, beta, weight = parameters[-3:]
            affines1.append(first_norm(channels, gamma, beta))
            rows_out, *_ = steps.norm_relu_pool_matmul(buffer, *affines1[-1], weight.flatten(1), shape)
            out = as_images(rows_out, (n, h // 2, w // 2))

        elif plan.training:
            steps.extend_norm(*share(*stats), *shared, channels, plan.eps)

        ctx.plan, ctx.shape, ctx.total = plan, shape, total
        # in training the first norms share one mean and deviation
        first = [mean, rstd] if plan.training else _flat(norms1)
        saved = [first, _flat(norms2), _flat(affines1), _flat(affines2), ys, kept, masks]
        ctx.counts = [len(tensors) for tensors in saved]
        ctx.save_for_backward(buffer, *(tensor for tensors in saved for tensor in tensors), *parameters)
        ctx.set_materialize_grads(False)
        statistics = (mean, var, torch.as_tensor(total, dtype=wide), *bottlenecks) if plan.training else ()
        ctx.mark_non_differentiable(*statistics)
        return (as_images(buffer, shape) if plan.keep_features else None), out, *statistics

    @staticmethod
    def backward(ctx, grad_features: Tensor | None, grad_out: Tensor | None, *_):
        if torch.is_grad_enabled():
            raise RuntimeError("the fused dense block cannot be differentiated twice; use DenseNet(engine='reference')")
        with without_autocast(ctx.saved_tensors[0].device):
            return _backward(ctx, grad_features, grad_out)


def _backward(ctx, grad_features: Tensor | None, grad_out: Tensor | None):
    plan, shape, total = ctx.plan, ctx.shape, ctx.total
    steps, depth, per_layer = plan.steps, plan.depth, plan.per_layer
    buffer, *rest = ctx.saved_tensors
    shared, norms2, affines1, affines2, ys, kept, masks = (_take(rest, count) for count in ctx.counts)
    parameters = rest
    k = parameters[per_layer - 1].shape[0]
    channels = buffer.shape[1]
    c0 = channels - depth * k
    direct = None if grad_features is None else as_rows(grad_features.to(buffer.dtype))
    grads: list[Tensor | None] = [None] * len(parameters)
    if direct is None and grad_out is None:
        return (None,) * len(ctx.needs_input_grad)

    def first_norm(i: int, c: int) -> tuple[Tensor, Tensor]:
        return (shared[0][:c], shared[1][:c]) if plan.training else (shared[2 * i], shared[2 * i + 1])

    def consume(step, i: int, c: int, gamma: Tensor, beta: Tensor, weight: Tensor, *args, overwrite: bool = False):
        """One consumer's part: adds to ``consumers``, returns the gradients of its norm's shift and convolution.

        That of the norm's scale, sum(dz * xhat), is left to the end: ``centred`` times the reciprocal deviation.
        """
        mean, rstd = first_norm(i, c)
        scale, shift = affines1[2 * i : 2 * i + 2]
        # with running statistics the norm is an affine map, and dz * scale is all there is
        coefficient = gamma.to(mean.dtype) if plan.training else scale
        grad_weight, sum_dz, centred = step(
            buffer[:, :c], scale, shift, mean, weight, *args, coefficient, consumers[:, :c], overwrite=overwrite
        )
        return (centred, rstd), sum_dz.to(beta.dtype), grad_weight

    def finish(start: int, stop: int) -> Tensor:
        """Gradient of channels whose consumers are all done: batch norm's correction, and the direct gradient."""
        g, x = consumers[:, start:stop], buffer[:, start:stop]
        add = None if direct is None else direct[:, start:stop]
        if not plan.training:
            return g if add is None else g + add
        mean, rstd = shared[0][start:stop], shared[1][start:stop]
        sums = steps.batch_norm_backward_sums(g, x, mean)
        if plan.group is not None:
            sums = plan.group.sum(*sums)
        # on a CPU the result takes G's place, whose work for these channels is done; cuDNN wants contiguous rows
        return steps.batch_norm_backward(g, x, mean, rstd, rstd, *sums, total, add=add, out=None if g.is_cuda else g)

    #: the factors of the gradients of the norms' scales, by their place among the parameters
    of_gamma: dict[int, tuple[Tensor, Tensor]] = {}
    #: G: the sum over consumers of gamma * dz
    if plan.transition and grad_out is not None:
        consumers = empty_like_buffer(buffer)
        gamma, beta, weight = parameters[-3:]
        of_gamma[len(grads) - 3], grad_beta, grad_weight = consume(
            steps.norm_relu_pool_matmul_backward, depth, channels, gamma, beta, weight.flatten(1), shape,
            as_rows(grad_out.to(buffer.dtype)), overwrite=True,
        )  # fmt: skip
        grads[-2:] = grad_beta, grad_weight.view_as(weight)
    else:
        consumers = empty_like_buffer(buffer).zero_()

    for i in reversed(range(depth)):
        at = per_layer * i
        gamma1, beta1, w1, *second = parameters[at : at + per_layer]
        c = c0 + i * k
        grad_new = finish(c, c + k)
        if masks[i] is not None:
            grad_new = grad_new * masks[i]
        if plan.bottleneck:
            _, beta2, w2 = second
            mean2, rstd2 = norms2[2 * i : 2 * i + 2]
            y = ys[i]
            scale2, shift2 = affines2[2 * i : 2 * i + 2]
            grad_y, grad_w2, sum_dz, centred = steps.norm_relu_conv3x3_backward(
                y, scale2, shift2, mean2, w2, shape, grad_new
            )
            of_gamma[at + 3] = centred, rstd2
            grads[at + 4 : at + 6] = sum_dz.to(beta2.dtype), grad_w2
            if plan.training:
                sums = (sum_dz, centred) if plan.group is None else plan.group.sum(sum_dz, centred)
                grad_y = steps.batch_norm_backward(grad_y, y, mean2, rstd2, scale2, *sums, total, out=grad_y)
            else:
                grad_y = grad_y.mul_(scale2)
            if kept[i] is not None:
                grad_y = grad_y.mul_(kept[i]).div_(1 - plan.inner_drop_rates[i])
            of_first = consume(steps.norm_relu_matmul_backward, i, c, gamma1, beta1, w1.flatten(1), grad_y)
        else:
            of_first = consume(steps.norm_relu_conv3x3_backward_into, i, c, gamma1, beta1, w1, shape, grad_new)
        of_gamma[at], grads[at + 1], grads[at + 2] = *of_first[:2], of_first[2].view_as(w1)
    for at, product in zip(of_gamma, torch._foreach_mul(*map(list, zip(*of_gamma.values())))):
        grads[at] = product.to(parameters[at].dtype)
    # a copy, because a view would keep the whole of G
    grad_x = as_images(finish(0, c0).contiguous(), shape) if ctx.needs_input_grad[0] else None
    running = len(ctx.needs_input_grad) - 2 - len(grads)
    return grad_x, None, *grads, *([None] * running)


def _flat(pairs: Sequence[tuple[Tensor, Tensor]]) -> list[Tensor]:
    return [tensor for pair in pairs for tensor in pair]


def _take(tensors: list, count: int) -> list:
    """The first ``count`` of them, which are removed."""
    taken = tensors[:count]
    del tensors[:count]
    return taken


def _dropout_mask(new: Tensor, drop_rate: float) -> Tensor | None:
    """The factors (M, k), 0 or 1 / (1 - p), by which dropout multiplies."""
    if not drop_rate:
        return None
    return torch.empty_like(new, memory_format=torch.contiguous_format).bernoulli_(1 - drop_rate).div_(1 - drop_rate)


def _drop(y: Tensor, drop_rate: float) -> Tensor | None:
    """Dropout of a bottleneck's output, in place. Returns what was kept, (M, J), a byte for each value."""
    if not drop_rate:
        return None
    kept = torch.empty_like(y, dtype=torch.bool).bernoulli_(1 - drop_rate)
    y.mul_(kept).div_(1 - drop_rate)
    return kept


def _update_all_statistics(
    layers: Sequence[DenseLayerModules], transition: TransitionModules | None, statistics: list[Tensor]
) -> None:
    """What each layer's own batch norms would have done: biased mean, unbiased variance."""
    mean, var, total, *bottlenecks = statistics
    unbiased = total / (total - 1)
    of_all = mean, var * unbiased
    if bottlenecks:
        bottlenecks[1::2] = torch._foreach_mul(bottlenecks[1::2], unbiased)
    updates = []
    for i, layer in enumerate(layers):
        c = layer.norm1.num_features
        updates.append((layer.norm1, of_all[0][:c], of_all[1][:c]))
        if layer.norm2 is not None:
            updates.append((layer.norm2, bottlenecks[2 * i], bottlenecks[2 * i + 1]))
    if transition is not None:
        updates.append((transition.norm, *of_all))
    update_running_statistics(updates)
