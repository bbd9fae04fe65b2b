"""Gradients by torch's own operations, which can be differentiated again, as with ``create_graph=True``.

The backward of a fused op records no graph. Where a graph is needed, where something has to see the operations (a
dispatch mode, ``vmap``, forward-mode AD), or where gradients are not plain tensors, the op is recomputed as the
reference computes it, from what forward saved. Its gradients, and theirs, are then those of torch's own operations.
Running statistics do not change, and dropout uses the random numbers of forward.

Forward saves the values of the op's input, not the tensor itself. To continue the graph beyond the input, an op has one
more output, the *stand-in*: a tensor of the input's shape without memory, whose gradient is added to the input's.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from ..norms import affine
from ..rows import as_images
from ..sync_batch_norm import sync_batch_norm
from .contract import check_watchers, is_plain


def by_operations(grads: Sequence[Tensor | None]) -> bool:
    """Whether these gradients of an op's outputs need torch's own operations."""
    if torch.is_grad_enabled():
        return True
    try:
        counting = check_watchers()
        # `each_gradient` splits the gradients of many passes in one tensor
        batched = torch._C._functorch.is_legacy_batchedtensor
        return not all(grad is None or batched(grad) or is_plain(grad, counting) for grad in grads)
    except Exception:  # the steps do not support a gradient that cannot be inspected
        return True


def stand_in(x: Tensor) -> Tensor:
    return torch.empty_strided(x.shape, (0,) * x.dim(), dtype=x.dtype, device=x.device)


class _Valued(torch.autograd.Function):
    """(tensor, values) -> the values, whose gradient goes to the tensor."""

    generate_vmap_rule = True  # so it may be called while torch.func's vmap takes gradients

    @staticmethod
    def forward(tensor: Tensor, values: Tensor) -> Tensor:
        return values.clone()

    @staticmethod
    def setup_context(ctx, inputs: tuple, output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx, grad: Tensor):
        return grad, None


class Recomputation:
    """The recomputation of an op: its inputs and their gradients."""

    def __init__(self):
        self.inputs: list[Tensor] = []
        self.graph = torch.is_grad_enabled()

    def given(self, tensor: Tensor, values: Tensor | None = None) -> Tensor:
        """An input of the op. :meth:`gradients` returns gradients in the order of these calls.

        It is a new tensor, because a hook on the input must run once, for its final gradient.
        """
        self.inputs.append(tensor.view_as(tensor) if values is None else _Valued.apply(tensor, values))
        return self.inputs[-1]

    def recording(self) -> AbstractContextManager:
        """A context for the op itself, which hides it from modes: they have seen forward already."""
        context = ExitStack()
        context.enter_context(torch.enable_grad())
        context.enter_context(_disable_current_modes())
        return context

    def gradients(self, outs: Sequence[Tensor | None], grads: Sequence[Tensor | None]) -> list[Tensor | None]:
        """The gradients of the inputs."""
        outs = [out for out, grad in zip(outs, grads) if grad is not None]
        grads = [grad for grad in grads if grad is not None]
        wanted = [tensor for tensor in self.inputs if tensor.requires_grad]
        found = iter(torch.autograd.grad(outs, wanted, grads, create_graph=self.graph, allow_unused=True))
        return [next(found) if tensor.requires_grad else None for tensor in self.inputs]


class _Convolutions(Recomputation):
    """Convolutions and the norms before them.

    Args:
        plan: how the op was computed, without tensors.
        biases: of the norms, in order. Forward does not save them, as batch norm does not: they may have changed since,
            and their values at that time follow from scale, shift and mean.
    """

    def __init__(self, plan, biases: Sequence[Tensor]):
        super().__init__()
        self.plan, self.biases = plan, iter(biases)

    def norm_relu(self, x: Tensor, scale: Tensor, shift: Tensor, weight: Tensor, mean: Tensor, rstd: Tensor) -> Tensor:
        """``scale``, ``shift``, ``mean`` and ``rstd`` are those of forward."""
        weight, bias = self.given(weight), next(self.biases)
        bias = self.given(bias, (shift + mean * scale).to(bias.dtype))
        if not self.plan.training:
            scale, shift = (value[:, None, None] for value in affine(weight, bias, mean, rstd))
            return F.relu((x * scale + shift).to(x.dtype))
        if self.plan.group is not None:
            return F.relu(sync_batch_norm(x, weight, bias, None, None, 0, self.plan.eps, self.plan.group.process_group))
        return F.relu(F.batch_norm(x, None, None, weight, bias, True, 0, self.plan.eps))

    def convolve(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.conv2d(x, self.given(weight).to(x.dtype), padding=weight.shape[2] // 2)


def block_gradients(plan, state, x_stand_in: Tensor, biases: Sequence[Tensor], grads: Sequence[Tensor | None]) -> list:
    """The gradients of x and ``plan.parameters()``, as a graph.

    Args:
        state: the :class:`.block_state.BlockState`.
        x_stand_in: the stand-in of x.
        biases: of all norms.
        grads: of the features and of the transition's output.
    """
    n, _, h, w = state.features.shape
    op = _Convolutions(plan, biases)
    with op.recording():
        features = [op.given(x_stand_in, state.features[:, : len(state.layers[0].norm1.scale)])]
        for layer, rate in zip(state.layers, plan.inner_drop_rates):
            new = op.convolve(op.norm_relu(torch.cat(features, 1), *layer.norm1), layer.conv1)
            if layer.conv2 is not None:
                if layer.keep_mask is not None:
                    new = new * as_images(layer.keep_mask, (n, h, w)) / (1 - rate)
                new = op.convolve(op.norm_relu(new, *layer.norm2), layer.conv2)
            features.append(new if layer.mask is None else new * as_images(layer.mask, (n, h, w)))
        outs = [torch.cat(features, 1), None]
        if state.transition is not None:
            norm, conv = state.transition
            outs[1] = F.avg_pool2d(op.convolve(op.norm_relu(outs[0], *norm), conv), 2)
    return op.gradients(outs, grads)


def stem_gradients(plan, x: Tensor, norm, x_stand_in: Tensor, bias: Tensor, grad: Tensor) -> list:
    """The gradients of x, and of the norm's weight and bias, as a graph. The arguments are those of
    :func:`block_gradients`, and the norm's :class:`.block_state.NormState`."""
    op = _Convolutions(plan, [bias])
    with op.recording():
        out = F.max_pool2d(op.norm_relu(op.given(x_stand_in, x), *norm), 3, 2, 1)
    return op.gradients([out], [grad])
