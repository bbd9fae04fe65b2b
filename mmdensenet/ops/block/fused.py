"""The dense block without concatenation: the same function as the reference, to rounding.

All features live in one channels-last buffer of shape (M, C0 + L*k), M = N*H*W. Layer l reads its first C_l columns and
writes the next k. Three things follow (arXiv:1608.06993 has the function, the rest is algebra):

- The statistics that batch norm needs belong to the channel and are the same for every layer that normalises it: they
  are computed once, when the channel is written. Each layer's running statistics are updated from the shared values.
- relu(norm1(features)) is an affine map per channel and a maximum. It is computed for a few rows at a time, while they
  are in the cache, and the convolution consumes it at once; no tensor holds all of it, in forward or in backward.
- The backward of batch norm is linear in gamma * dz, so the terms of all consumers of a channel are summed first and
  the correction by the means is applied once, when the channel's own layer has its turn.

The transition after the block is one more consumer. The block saves the buffer, its statistics and each layer's
bottleneck output for backward, so memory is linear in depth.

Here and in :mod:`.fused_backward` is the order of the steps. The steps are functions on rows in :mod:`..steps`: plain
torch, C++ for CPUs and Triton for CUDA GPUs.
"""

from collections.abc import Iterable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx

from ..norms import Norm, affine, running, update_running_statistics
from ..rows import Shape, as_rows, is_channels_last, new_buffer, own_images
from ..steps import steps_for
from .batched import each_gradient
from .block_state import BlockState, LayerState, NormState, pack, unpack, with_running_statistics
from .contract import without_autocast
from .double_backward import block_gradients, by_operations, stand_in
from .evaluate import evaluate_block
from .fused_backward import block_backward
from .plan import Plan, plan_block, plan_stage
from .reference import DenseLayerModules, TransitionModules


@torch.compiler.disable
def fused_dense_block(x: Tensor, layers: Iterable[DenseLayerModules]) -> Tensor:
    """Apply the layers of one block; arguments and result are those of :func:`~mmdensenet.ops.dense_block`.

    torch.compile breaks its graph around this function; it compiles a whole model with the reference.

    Raises:
        RuntimeError: where :func:`~mmdensenet.ops.why_not_fused` gives a reason.
    """
    return compute_block(x, _require_fusable(plan_block(x, layers)))


@torch.compiler.disable
def fused_dense_stage(
    x: Tensor, layers: Iterable[DenseLayerModules], transition: TransitionModules, keep_features: bool = False
) -> tuple[Tensor | None, Tensor]:
    """Apply the layers of one block and the transition after it, which reads the block's buffer.

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
    return compute_stage(x, _require_fusable(plan_stage(x, layers, transition)), keep_features)


def _require_fusable(plan: Plan) -> Plan:
    if plan.reason is not None:
        raise RuntimeError(f'the fused block does not apply: {plan.reason}; use mmdensenet.ops.dense_block')
    return plan


def compute_block(x: Tensor, plan: Plan) -> Tensor:
    """Return the features of a block that is planned without a transition, in the reference's memory order.

    Args:
        x: the block's input, (N, C0, H, W).
        plan: of :func:`plan_block` for this x.

    Returns:
        (N, C0 + L * k, H, W).
    """
    features, _ = _compute(x, plan, torch.contiguous_format if plan.contiguous else torch.channels_last)
    return features


def compute_stage(x: Tensor, plan: Plan, keep_features: bool) -> tuple[Tensor | None, Tensor]:
    """Return the features and the transition's output of a block that is planned with its transition.

    Args:
        x: the block's input, (N, C0, H, W).
        plan: of :func:`plan_stage` for this x.
        keep_features: whether the features are wanted.

    Returns:
        The features (N, C0 + L * k, H, W), or None, and the output (N, J, H // 2, W // 2).
    """
    return _compute(x, plan, torch.channels_last if keep_features else None)


def _compute(x: Tensor, plan: Plan, layout: torch.memory_format | None) -> tuple[Tensor | None, Tensor | None]:
    """``layout`` is the memory format of the features, None where they are not returned."""
    # the type of x already follows autocast; the steps choose their own types
    with without_autocast(x.device):
        if plan.evaluated:
            features, out = evaluate_block(x, plan, layout is not None)
            return (features if features is None else features.contiguous(memory_format=layout)), out
        if plan.graph:
            return _FusedBlock.apply(x, plan, layout, *plan.parameters())[:2]
        with torch.no_grad():
            state, out = _forward(x, plan)
        return (None if layout is None else state.features.contiguous(memory_format=layout)), out


def _forward(x: Tensor, plan: Plan) -> tuple[BlockState, Tensor | None]:
    """The state for backward, which holds the features, and the transition's output.

    Running statistics are updated here, not in backward: activation checkpointing stops its recomputation after
    forward.
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

    def over_features(norm: Norm, stop: int) -> NormState:
        """The state of a norm that reads the first ``stop`` channels; ``measured`` has the statistics of the newest."""
        if not plan.training:
            return _running_state(norm, plan.eps, dtype)
        scale, shift = steps.extend_norm(*share(*measured), mean, var, rstd, stop, plan.eps, norm.weight, norm.bias)
        normed.append((norm, stop))
        return NormState(scale, shift, norm.weight, mean[:stop], rstd[:stop])

    def over_bottleneck(norm: Norm) -> NormState:
        if not plan.training:
            return _running_state(norm, plan.eps, dtype)
        m, v = share(*measured)
        r, *affine = steps.new_norm(m, v, plan.eps, norm.weight, norm.bias)
        normed.append((norm, (m, v)))
        return NormState(*affine, norm.weight, m, r)

    #: the norms in the order of the reference, which matters where two share running statistics; a norm over features
    #: with the number of its channels, a norm over a bottleneck with mean and biased variance
    normed: list[tuple[Norm, int | tuple[Tensor, Tensor]]] = []
    measured = steps.statistics(buffer[:, :c0]) if plan.training else ()
    layers = []
    for i, layer in enumerate(plan.layers):
        c = c0 + i * growth
        earlier, new = buffer[:, :c], buffer[:, c : c + growth]
        norm1 = over_features(layer.norm1, c)
        norm2 = y = keep_mask = None
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
            keep_mask = _drop(y, rate, plan, shape)
            if plan.training and rate:
                measured = steps.statistics(y)
            norm2 = over_bottleneck(layer.norm2)
            mask = _dropout_factors(new, plan.drop_rates[i], plan, shape)
            measured = steps.norm_relu_conv3x3(
                y, norm2.scale, norm2.shift, layer.conv2, shape, new, mask, measure=plan.training
            )
        layers.append(LayerState(norm1, layer.conv1, norm2, layer.conv2, y, keep_mask, mask))

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
    return BlockState(own_images(buffer, shape), layers, transition, statistics, total), out


class _FusedBlock(torch.autograd.Function):
    """(x, plan, the features' memory format or None, ``plan.parameters()``) -> (features, the transition's output, the
    stand-in of x)."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, plan: Plan, layout: torch.memory_format | None, *parameters: Tensor):
        state, out = _forward(x, plan)
        ctx.plan, ctx.biases = plan.settings(), parameters[1::3]
        ctx.contiguous = x.is_contiguous() or not is_channels_last(x)
        ctx.set_materialize_grads(False)
        x_stand_in = stand_in(x)
        pack(ctx, state, x_stand_in, plan.running_statistics())
        if layout is None:
            return None, out, x_stand_in
        # Without a transition, the reference does not save its result, so a caller may change it in place. A
        # transition's norm saves it, and backward then detects a change.
        features = state.features.clone(memory_format=layout) if out is None else state.features
        return features, out, x_stand_in

    @staticmethod
    def backward(ctx, *grads: Tensor | None):
        *grads, of_stand_in = grads
        if all(grad is None for grad in grads):
            return of_stand_in, *(None,) * (len(ctx.needs_input_grad) - 1)
        state, x_stand_in, running_statistics = unpack(ctx)
        with torch._C.DisableTorchFunction(), without_autocast(state.features.device):
            if by_operations(grads):
                grad_x, *others = block_gradients(ctx.plan, state, x_stand_in, ctx.biases, grads)
            else:
                if not ctx.plan.training:
                    state = with_running_statistics(state, running_statistics, ctx.plan.eps)
                grad_x, *others = each_gradient(partial(block_backward, ctx.plan, state), *grads)
        if of_stand_in is not None:
            grad_x = grad_x + of_stand_in
        if grad_x is not None:
            grad_x = _in_reference_order(grad_x, ctx.contiguous, grads[0])
        return (grad_x if ctx.needs_input_grad[0] else None), None, None, *others


def _in_reference_order(grad: Tensor, contiguous: bool, of_features: Tensor | None) -> Tensor:
    """The gradient of a block's input in the reference's memory order, so that a caller may view it.

    Args:
        grad: (N, C0, H, W), in channels-last order.
        contiguous: whether the input is in NCHW order.
        of_features: the gradient of the features (N, C, H, W). The reference adds those of the layers, which are in the
            input's order, to a part of it; torch gives a sum the first one's order where that is dense.
    """
    layout = torch.contiguous_format if contiguous else torch.channels_last
    if not _has_strides(of_features) or of_features.is_contiguous(memory_format=layout):
        return grad.contiguous() if contiguous else grad
    first = torch.empty_strided(grad.shape, of_features.stride(), device='meta')
    total = first + torch.empty(grad.shape, memory_format=layout, device='meta')
    order = sorted(range(4), key=total.stride, reverse=True)
    return grad.permute(order).contiguous().permute([order.index(i) for i in range(4)])


def _has_strides(grad: Tensor | None) -> bool:
    """Whether this is a tensor whose order in memory can be asked for: not those of vmap, sparse ones and the like."""
    if type(grad) is not Tensor or grad.layout is not torch.strided or grad._is_zerotensor():
        return False
    return not (torch._C._are_functorch_transforms_active() or torch._C._functorch.is_legacy_batchedtensor(grad))


def _running_state(norm: Norm, eps: float, dtype: torch.dtype) -> NormState:
    mean, rstd = running(norm.mean, norm.var, eps, dtype)
    return NormState(*affine(norm.weight, norm.bias, mean, rstd), norm.weight, mean, rstd)


def _dropout_factors(new: Tensor, rate: float, plan: Plan, shape: Shape) -> Tensor | None:
    """The reference's factors of dropout (M, c), 0 or 1 / (1 - p), from the same random numbers.

    They are drawn in the memory order of the reference's feature maps.
    """
    if not rate:
        return None
    n, h, w = shape
    layout = torch.contiguous_format if plan.layers_contiguous else torch.channels_last
    ones = torch.empty((n, new.shape[1], h, w), dtype=new.dtype, device=new.device, memory_format=layout).fill_(1)
    return as_rows(F.dropout(ones, rate))


def _drop(y: Tensor, rate: float, plan: Plan, shape: Shape) -> Tensor | None:
    """Apply dropout to a bottleneck's output in place. Returns the keep mask (M, J), or None at rate 0."""
    if not rate:
        return None
    factors = _dropout_factors(y, rate, plan, shape)
    y.mul_(factors)
    return factors != 0
