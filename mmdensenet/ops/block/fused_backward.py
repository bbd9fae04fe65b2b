"""The backward pass of the fused block, from the last layer to the first.

A layer's gradients with respect to earlier features are added to one buffer G as gamma * dz. When all consumers of a
channel are done, batch norm's correction by the means is applied to its sum once.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ..rows import as_images, as_rows, empty_like_buffer
from ..steps import steps_for
from .block_state import BlockState, NormState
from .plan import Plan


def block_backward(
    plan: Plan, state: BlockState, grad_features: Tensor | None, grad_out: Tensor | None
) -> tuple[Tensor | None, ...]:
    """The gradients of x (N, C0, H, W) and ``plan.parameters()``; None for a transition whose output was not used.

    Args:
        grad_features, grad_out: of the features and of the transition's output, None where unused.
    """
    n, channels, h, w = state.features.shape
    shape, buffer, total = (n, h, w), as_rows(state.features), state.total
    steps = steps_for(buffer, buffer.dtype)
    direct = None if grad_features is None else _grad_rows(grad_features, buffer)

    def consume(step, norm: NormState, weight: Tensor, *args, overwrite: bool = False) -> tuple[Tensor, ...]:
        """Add one consumer's part to ``consumers``; return the gradients of its norm and convolution."""
        c = norm.scale.shape[0]
        coefficient = norm.weight.to(norm.mean.dtype)
        if not plan.training:  # the norm is a constant affine map, whose gradient is dz * scale
            coefficient = coefficient * norm.rstd
        grad_weight, sum_dz, centred = step(
            buffer[:, :c], norm.scale, norm.shift, norm.mean, weight, *args, coefficient, consumers[:, :c],
            overwrite=overwrite,
        )  # fmt: skip
        return *_norm_gradients(norm, sum_dz, centred), grad_weight

    def finish(start: int, stop: int) -> Tensor:
        """The gradient of channels all of whose consumers are done: with batch norm's correction and the direct one."""
        g, x = consumers[:, start:stop], buffer[:, start:stop]
        add = None if direct is None else direct[:, start:stop]
        if not plan.training:
            return g if add is None else g + add
        mean, rstd = (values[start:stop] for values in state.statistics)
        sums = steps.batch_norm_backward_sums(g, x, mean)
        if plan.group is not None:
            sums = plan.group.sum(*sums)
        # on a CPU the result overwrites G, which these channels no longer need; cuDNN needs contiguous rows
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
            # the current weight, as in batch norm's backward: it may have been changed through .data
            coefficient = norm2.weight.to(norm2.rstd.dtype) * norm2.rstd
            if plan.training:
                sums = (sum_dz, centred) if plan.group is None else plan.group.sum(sum_dz, centred)
                grad_y = steps.batch_norm_backward(
                    grad_y, layer.y, norm2.mean, norm2.rstd, coefficient, *sums, total, out=grad_y
                )
            else:
                grad_y = grad_y.mul_(coefficient)
            if layer.keep_mask is not None:
                grad_y = grad_y.mul_(layer.keep_mask).div_(1 - rate)
            *of_norm1, grad_conv1 = consume(
                steps.norm_relu_matmul_backward, layer.norm1, layer.conv1.flatten(1), grad_y
            )
            of_layer = *of_norm1, grad_conv1.view_as(layer.conv1), *of_norm2, grad_conv2
        grads[:0] = of_layer
        stop = start
    # a copy: a view would keep all of G alive
    return as_images(finish(0, stop).contiguous(), shape), *_multiply_products(grads)


class _Product(NamedTuple):
    """The gradient of a norm's weight, sum(dz * xhat), before the multiplication with ``rstd``."""

    centred: Tensor
    rstd: Tensor
    dtype: torch.dtype


def _norm_gradients(norm: NormState, sum_dz: Tensor, centred: Tensor) -> tuple[_Product, Tensor]:
    """The gradients of a norm's weight and bias."""
    return _Product(centred, norm.rstd, norm.weight.dtype), sum_dz.to(norm.weight.dtype)


def _multiply_products(grads: list[Tensor | _Product | None]) -> list[Tensor | None]:
    """The gradients, with one call for all products."""
    products = [grad for grad in grads if isinstance(grad, _Product)]
    values = iter(torch._foreach_mul([p.centred for p in products], [p.rstd for p in products]))
    return [next(values).to(grad.dtype) if isinstance(grad, _Product) else grad for grad in grads]


def _grad_rows(grad: Tensor, buffer: Tensor) -> Tensor:
    return as_rows(grad.to(buffer.dtype).resolve_neg())
