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

This module says in which order what is computed; the steps themselves are functions on rows in :mod:`..steps`: plain
torch, C++ for CPUs and Triton for CUDA GPUs.
"""

from collections.abc import Iterable
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx
from torch.utils._pytree import tree_flatten, tree_unflatten

from ..norms import Norm, affine, running, update_running_statistics
from ..rows import Shape, as_images, as_rows, empty_like_buffer, new_buffer, own_images
from ..steps import steps_for
from .batched import each_gradient
from .contract import without_autocast
from .double_backward import block_gradients, by_operations, stand_in
from .evaluate import evaluate_block
from .plan import Plan, lies_channels_last, plan_block, plan_stage
from .reference import DenseLayerModules, TransitionModules


@torch.compiler.disable
def fused_dense_block(x: Tensor, layers: Iterable[DenseLayerModules]) -> Tensor:
    """Apply the layers of one block; arguments and result are those of :func:`~mmdensenet.ops.dense_block`.

    torch.compile breaks its graph around it; of a whole model it takes the reference.

    Raises:
        RuntimeError: where :func:`~mmdensenet.ops.why_not_fused` gives a reason.
    """
    return compute_block(x, _applicable(plan_block(x, layers)))


@torch.compiler.disable
def fused_dense_stage(
    x: Tensor, layers: Iterable[DenseLayerModules], transition: TransitionModules, keep_features: bool = False
) -> tuple[Tensor | None, Tensor]:
    """Apply the layers of one block and the transition behind it, which reads the block's buffer.

    Args:
        x: (N, C0, H, W).
        layers: as in :func:`fused_dense_block`.
        transition: norm, ReLU, 1x1 convolution and 2x2 average pooling.
        keep_features: return the block's features too.

    Returns:
        The features (N, C0 + L * k, H, W), or None, and the transition's output (N, J, H // 2, W // 2), both in
        channels-last order in memory.

    Raises:
        RuntimeError: as :func:`fused_dense_block`, or where the transition has other parts.
    """
    return compute_stage(x, _applicable(plan_stage(x, layers, transition)), keep_features)


def _applicable(plan: Plan) -> Plan:
    if plan.reason is not None:
        raise RuntimeError(f'the fused block does not apply: {plan.reason}; use mmdensenet.ops.dense_block')
    return plan


def compute_block(x: Tensor, plan: Plan) -> Tensor:
    """The features of a block that is planned without a transition. They lie in memory as the reference's would."""
    features, _ = _compute(x, plan, torch.contiguous_format if plan.contiguous else torch.channels_last)
    return features


def compute_stage(x: Tensor, plan: Plan, keep_features: bool) -> tuple[Tensor | None, Tensor]:
    """The features, or None, and the transition's output of a block that is planned with its transition."""
    return _compute(x, plan, torch.channels_last if keep_features else None)


def _compute(x: Tensor, plan: Plan, layout: torch.memory_format | None) -> tuple[Tensor | None, Tensor | None]:
    """``layout`` is that of the features, None where they are not wanted."""
    # autocast has had its say in the type of x; inside, every step names its types
    with without_autocast(x.device):
        if plan.evaluated:
            features, out = evaluate_block(x, plan, layout is not None)
            return (features if features is None else features.contiguous(memory_format=layout)), out
        if plan.graph:
            return _FusedBlock.apply(x, plan, layout, *plan.parameters())[:2]
        with torch.no_grad():
            state, out = _forward(x, plan)
        return (None if layout is None else state.features.contiguous(memory_format=layout)), out


class _NormState(NamedTuple):
    """A norm as an affine map, its weight, and its mean and reciprocal deviation."""

    scale: Tensor
    shift: Tensor
    weight: Tensor
    mean: Tensor
    rstd: Tensor


class _LayerState(NamedTuple):
    """What a layer keeps for backward; ``norm2`` to ``kept`` are None without a bottleneck."""

    norm1: _NormState
    conv1: Tensor
    norm2: _NormState | None
    conv2: Tensor | None
    #: the bottleneck's output (M, J)
    y: Tensor | None
    #: where dropout of y left values, (M, J)
    kept: Tensor | None
    #: factors of dropout (M, k)
    mask: Tensor | None


class _State(NamedTuple):
    """What a block keeps for backward."""

    #: (N, C0 + L * k, H, W): the buffer
    features: Tensor
    layers: list[_LayerState]
    #: the transition's norm and convolution
    transition: tuple[_NormState, Tensor] | None
    #: mean and reciprocal deviation of all channels, which the norms share in training
    statistics: tuple[Tensor, Tensor] | None
    #: number of rows of all ranks
    total: Tensor | int


def _pack(ctx: FunctionCtx, plan: Plan, state: _State, standing: Tensor) -> None:
    leaves, ctx.structure = tree_flatten(state._replace(total=None))
    ctx.total = state.total
    ctx.save_for_backward(standing, *leaves, *plan.noticed())


def _unpack(ctx: FunctionCtx) -> tuple[_State, Tensor, list[Tensor]]:
    """Once a backward pass: whoever packs saved tensors, such as a checkpoint, unpacks each of them once."""
    standing, *saved = ctx.saved_tensors
    leaves, noticed = saved[: ctx.structure.num_leaves], saved[ctx.structure.num_leaves :]
    return tree_unflatten(leaves, ctx.structure)._replace(total=ctx.total), standing, noticed


def _with_statistics(state: _State, noticed: list[Tensor], eps: float) -> _State:
    """Of norms in evaluation, whose backward takes the running statistics as they are by then, as batch norm's does."""
    each = iter(noticed)

    def norm(old: _NormState) -> _NormState:
        mean, rstd = running(next(each), next(each), eps, old.mean.dtype)
        return old._replace(mean=mean, rstd=rstd)

    layers = []
    for layer in state.layers:
        norm1 = norm(layer.norm1)
        layers.append(layer._replace(norm1=norm1, norm2=None if layer.norm2 is None else norm(layer.norm2)))
    transition = None if state.transition is None else (norm(state.transition[0]), state.transition[1])
    return state._replace(layers=layers, transition=transition)


def _forward(x: Tensor, plan: Plan) -> tuple[_State, Tensor | None]:
    """What is to be kept for backward, the features in it, and the transition's output.

    Running statistics are updated here: a checkpoint that computes the block again stops as soon as it has been.
    """
    steps = steps_for(x, x.dtype)
    n, c0, h, w = x.shape
    shape = (n, h, w)
    growth = (plan.layers[0].conv1 if plan.layers[0].conv2 is None else plan.layers[0].conv2).shape[0]
    channels = c0 + len(plan.layers) * growth
    buffer = new_buffer(x, channels)
    dtype = torch.promote_types(x.dtype, torch.float32)
    mean, var, rstd = (x.new_empty(channels if plan.training else 0, dtype=dtype) for _ in range(3))
    total: int | Tensor = buffer.shape[0]

    def share(m: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        nonlocal total
        if plan.group is not None:
            m, v, total = plan.group.combine(m, v, buffer.shape[0])
        return m, v

    def over_features(norm: Norm, stop: int) -> _NormState:
        """Of a norm that reads the channels up to stop, the last of which have the statistics ``measured``."""
        if not plan.training:
            return _running_state(norm, plan.eps, dtype)
        scale, shift = steps.extend_norm(*share(*measured), mean, var, rstd, stop, plan.eps, norm.weight, norm.bias)
        normed.append((norm, stop))
        return _NormState(scale, shift, norm.weight, mean[:stop], rstd[:stop])

    def over_bottleneck(norm: Norm) -> _NormState:
        if not plan.training:
            return _running_state(norm, plan.eps, dtype)
        m, v = share(*measured)
        r, *affine = steps.new_norm(m, v, plan.eps, norm.weight, norm.bias)
        normed.append((norm, (m, v)))
        return _NormState(*affine, norm.weight, m, r)

    #: norms in their order, which matters to those that share statistics: over the features with the number of channels
    #: that they read, over bottlenecks with mean and biased variance
    normed: list[tuple[Norm, int | tuple[Tensor, Tensor]]] = []
    measured = steps.statistics(buffer[:, :c0]) if plan.training else ()
    layers = []
    for i, layer in enumerate(plan.layers):
        c = c0 + i * growth
        earlier, new = buffer[:, :c], buffer[:, c : c + growth]
        norm1 = over_features(layer.norm1, c)
        norm2 = y = kept = None
        if layer.conv2 is None:
            mask = _dropout_factors(new, plan.drop_rates[i], plan, shape)
            measured = steps.norm_relu_conv3x3(
                earlier, norm1.scale, norm1.shift, layer.conv1, shape, new, mask, measure=plan.training
            )
        else:
            rate = plan.inner_drop_rates[i]
            y, *measured = steps.norm_relu_matmul(
                earlier, norm1.scale, norm1.shift, layer.conv1.flatten(1), measure=plan.training and not rate
            )
            kept = _drop(y, rate, plan, shape)
            if plan.training and rate:
                measured = steps.statistics(y)
            norm2 = over_bottleneck(layer.norm2)
            mask = _dropout_factors(new, plan.drop_rates[i], plan, shape)
            measured = steps.norm_relu_conv3x3(
                y, norm2.scale, norm2.shift, layer.conv2, shape, new, mask, measure=plan.training
            )
        layers.append(_LayerState(norm1, layer.conv1, norm2, layer.conv2, y, kept, mask))

    transition = out = None
    if plan.transition is not None:
        norm = over_features(plan.transition.norm, channels)
        rows, *_ = steps.norm_relu_pool_matmul(buffer, norm.scale, norm.shift, plan.transition.conv.flatten(1), shape)
        out = own_images(rows, (n, h // 2, w // 2))
        transition = norm, plan.transition.conv
    elif plan.training:
        steps.extend_norm(*share(*measured), mean, var, rstd, channels, plan.eps)
    if plan.training:
        unbiased = total / (total - 1)
        of_all = var * unbiased
        update_running_statistics(
            [
                (norm, mean[:of], of_all[:of]) if isinstance(of, int) else (norm, of[0], of[1] * unbiased)
                for norm, of in normed
            ]
        )
    statistics = (mean, rstd) if plan.training else None
    return _State(own_images(buffer, shape), layers, transition, statistics, total), out


class _FusedBlock(torch.autograd.Function):
    """x, plan, the features' layout (None: not wanted), ``plan.parameters()`` -> features, the transition's output, and
    the stand-in of x."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, plan: Plan, layout: torch.memory_format | None, *parameters: Tensor):
        state, out = _forward(x, plan)
        ctx.plan, ctx.biases = plan.settings(), parameters[1::3]
        ctx.contiguous = x.is_contiguous() or not lies_channels_last(x)
        ctx.set_materialize_grads(False)
        standing = stand_in(x)
        _pack(ctx, plan, state, standing)
        if layout is None:
            return None, out, standing
        # Behind a block alone the reference keeps nothing of what it returns, which may be changed in place then.
        # A transition's norm keeps it, so that a change is noticed in backward.
        features = state.features.clone(memory_format=layout) if out is None else state.features
        return features, out, standing

    @staticmethod
    def backward(ctx, *grads: Tensor | None):
        *grads, of_stand_in = grads
        if all(grad is None for grad in grads):
            return of_stand_in, *(None,) * (len(ctx.needs_input_grad) - 1)
        state, standing, noticed = _unpack(ctx)
        with torch._C.DisableTorchFunction(), without_autocast(state.features.device):
            if by_operations(grads):
                grad_x, *others = block_gradients(ctx.plan, state, standing, ctx.biases, grads)
            else:
                if not ctx.plan.training:
                    state = _with_statistics(state, noticed, ctx.plan.eps)
                grad_x, *others = each_gradient(partial(_backward, ctx.plan, state), *grads)
        if of_stand_in is not None:
            grad_x = grad_x + of_stand_in
        if ctx.contiguous and grad_x is not None:
            grad_x = grad_x.contiguous()  # as the reference's, which may be viewed then
        return (grad_x if ctx.needs_input_grad[0] else None), None, None, *others


def _backward(
    plan: Plan, state: _State, grad_features: Tensor | None, grad_out: Tensor | None
) -> tuple[Tensor | None, ...]:
    """The gradients of x and of ``plan.parameters()``, None for those of a transition whose output was not used."""
    n, channels, h, w = state.features.shape
    shape, buffer, total = (n, h, w), as_rows(state.features), state.total
    steps = steps_for(buffer, buffer.dtype)
    direct = None if grad_features is None else _grad_rows(grad_features, buffer)

    def consume(step, norm: _NormState, weight: Tensor, *args, overwrite: bool = False) -> tuple[Tensor, ...]:
        """One consumer's part: adds to ``consumers``, returns the gradients of its norm and convolution."""
        c = norm.scale.shape[0]
        coefficient = norm.weight.to(norm.mean.dtype)
        if not plan.training:  # the norm is an affine map then, and dz * scale is all there is
            coefficient = coefficient * norm.rstd
        grad_weight, sum_dz, centred = step(
            buffer[:, :c], norm.scale, norm.shift, norm.mean, weight, *args, coefficient, consumers[:, :c],
            overwrite=overwrite,
        )  # fmt: skip
        return *_norm_gradients(norm, sum_dz, centred), grad_weight

    def finish(start: int, stop: int) -> Tensor:
        """Gradient of channels whose consumers are all done: batch norm's correction, and the direct gradient."""
        g, x = consumers[:, start:stop], buffer[:, start:stop]
        add = None if direct is None else direct[:, start:stop]
        if not plan.training:
            return g if add is None else g + add
        mean, rstd = (values[start:stop] for values in state.statistics)
        sums = steps.batch_norm_backward_sums(g, x, mean)
        if plan.group is not None:
            sums = plan.group.sum(*sums)
        # on a CPU the result takes G's place, whose work for these channels is done; cuDNN wants contiguous rows
        return steps.batch_norm_backward(g, x, mean, rstd, rstd, *sums, total, add=add, out=None if g.is_cuda else g)

    # G: the sum over consumers of gamma * dz
    grads: list[Tensor | _Product | None] = []
    consumers = empty_like_buffer(buffer)
    if state.transition is not None and grad_out is not None:
        norm, weight = state.transition
        *of_norm, grad_weight = consume(
            steps.norm_relu_pool_matmul_backward, norm, weight.flatten(1), shape, _grad_rows(grad_out, buffer),
            overwrite=True,
        )  # fmt: skip
        grads = [*of_norm, grad_weight.view_as(weight)]
    else:
        consumers.zero_()
        grads = [None] * 3 if state.transition is not None else []

    stop = channels
    for layer, rate in zip(reversed(state.layers), reversed(plan.inner_drop_rates)):
        start = layer.norm1.scale.shape[0]
        grad_new = finish(start, stop)
        if layer.mask is not None:
            grad_new = grad_new * layer.mask
        if layer.conv2 is None:
            of_layer = consume(steps.norm_relu_conv3x3_backward_into, layer.norm1, layer.conv1, shape, grad_new)
        else:
            norm2 = layer.norm2
            grad_y, grad_conv2, sum_dz, centred = steps.norm_relu_conv3x3_backward(
                layer.y, norm2.scale, norm2.shift, norm2.mean, layer.conv2, shape, grad_new
            )
            of_norm2 = _norm_gradients(norm2, sum_dz, centred)
            # with the weight as it is by now, as batch norm's backward: it may have been changed unseen
            coefficient = norm2.weight.to(norm2.rstd.dtype) * norm2.rstd
            if plan.training:
                sums = (sum_dz, centred) if plan.group is None else plan.group.sum(sum_dz, centred)
                grad_y = steps.batch_norm_backward(
                    grad_y, layer.y, norm2.mean, norm2.rstd, coefficient, *sums, total, out=grad_y
                )
            else:
                grad_y = grad_y.mul_(coefficient)
            if layer.kept is not None:
                grad_y = grad_y.mul_(layer.kept).div_(1 - rate)
            *of_norm1, grad_conv1 = consume(
                steps.norm_relu_matmul_backward, layer.norm1, layer.conv1.flatten(1), grad_y
            )
            of_layer = *of_norm1, grad_conv1.view_as(layer.conv1), *of_norm2, grad_conv2
        grads[:0] = of_layer
        stop = start
    # a copy, because a view would keep the whole of G
    return as_images(finish(0, stop).contiguous(), shape), *_multiplied(grads)


class _Product(NamedTuple):
    """The gradient of a norm's weight, sum(dz * xhat), before it is multiplied."""

    centred: Tensor
    rstd: Tensor
    dtype: torch.dtype


def _norm_gradients(norm: _NormState, sum_dz: Tensor, centred: Tensor) -> tuple[_Product, Tensor]:
    """Of a norm's weight and bias."""
    return _Product(centred, norm.rstd, norm.weight.dtype), sum_dz.to(norm.weight.dtype)


def _multiplied(grads: list[Tensor | _Product | None]) -> list[Tensor | None]:
    """The gradients, with one call for all products."""
    products = [grad for grad in grads if isinstance(grad, _Product)]
    values = iter(torch._foreach_mul([p.centred for p in products], [p.rstd for p in products]))
    return [next(values).to(grad.dtype) if isinstance(grad, _Product) else grad for grad in grads]


def _running_state(norm: Norm, eps: float, dtype: torch.dtype) -> _NormState:
    mean, rstd = running(norm.mean, norm.var, eps, dtype)
    return _NormState(*affine(norm.weight, norm.bias, mean, rstd), norm.weight, mean, rstd)


def _grad_rows(grad: Tensor, buffer: Tensor) -> Tensor:
    return as_rows(grad.to(buffer.dtype).resolve_neg())


def _dropout_factors(new: Tensor, rate: float, plan: Plan, shape: Shape) -> Tensor | None:
    """The factors (M, c), 0 or 1 / (1 - p), by which the reference's dropout would multiply, from the same draws.

    They are drawn in the order in which the reference's maps lie in memory.
    """
    if not rate:
        return None
    n, h, w = shape
    layout = torch.contiguous_format if plan.layers_contiguous else torch.channels_last
    ones = torch.empty((n, new.shape[1], h, w), dtype=new.dtype, device=new.device, memory_format=layout).fill_(1)
    return as_rows(F.dropout(ones, rate))


def _drop(y: Tensor, rate: float, plan: Plan, shape: Shape) -> Tensor | None:
    """Dropout of a bottleneck's output, in place. Returns what was kept, (M, J), a byte for each value."""
    if not rate:
        return None
    factors = _dropout_factors(y, rate, plan, shape)
    y.mul_(factors)
    return factors != 0
