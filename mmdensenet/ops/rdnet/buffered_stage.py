"""RDNet's stage in one buffer: the same function as :func:`.rdnet_stage.rdnet_stage`, without concatenations.

- The features stay in one buffer (N, C0 + L * g, H, W), channels last, which is allocated once: a block reads its first
  C_j channels and writes its g, and the buffer is the stage's result. No concatenation is made or kept. Backward reads
  neither it nor the stage's input, so both may be changed in place, as where they are concatenated.
- Channels last, layer norm reads what the convolutions write as it is; eSE's gate, gamma and the mask of drop path are
  one factor for each image and channel, so that they take one pass.
- Backward goes from the last block to the first, with one buffer of gradients. Each block is differentiated by
  autograd, over a graph of its own: kept since forward, or, with ``memory_efficient``, built anew from the features.
  Then nothing of the 4 * C_j hidden channels is kept, only the input and the g channels that the second convolution
  gave, of which the features are made again without computing that.
"""

import functools
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from ..block.contract import without_autocast
from ..block.double_backward import by_operations, stand_in
from ..rows import is_channels_last
from .buffered_backward import differentiable_backward, stage_backward
from .module_parts import are_biases, leaf_of, parameters_of, parts_of, with_tensors
from .rdnet_stage import RDNetBlockModules, block_channels, fill_buffer, hidden_channels, project, scale


def buffered_rdnet_stage(
    x: Tensor,
    blocks: Sequence[RDNetBlockModules],
    masks: Sequence[Tensor | None],
    memory_efficient: bool = False,
) -> Tensor:
    """As :func:`rdnet_stage`, without concatenations; for blocks of which :func:`why_not_buffered` says None.

    Args:
        x, blocks, masks: as for :func:`rdnet_stage`.
        memory_efficient: compute the hidden tensors again in backward instead of keeping them.
    """
    parameters = [p for block in blocks for p in parameters_of(block)]
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (x, *parameters)):
        out = _Stage.apply(x, blocks, masks, memory_efficient, *parameters)[0]
    else:
        out = fill_buffer(x, blocks, masks, block_channels)
    # as a concatenation, in which the blocks' channels lie channels last
    return out if is_channels_last(x) else out.contiguous()


class _Stage(torch.autograd.Function):
    """x, blocks, masks, ``memory_efficient``, the blocks' parameters -> features, and the stand-in of x."""

    @staticmethod
    def forward(ctx, x: Tensor, blocks, masks, memory_efficient: bool, *parameters: Tensor) -> tuple[Tensor, Tensor]:
        ctx.masks, ctx.x_dtype, ctx.x_layout = masks, x.dtype, _layout(x)
        ctx.set_materialize_grads(False)
        ctx.graphs = None if memory_efficient else []
        #: with ``memory_efficient`` the input, and what each block's second convolution gave
        kept = [x.clone(memory_format=torch.channels_last)] if memory_efficient else []

        def and_keep_the_graph(features: Tensor, block, mask) -> Tensor:
            # a copy, which the convolution needs anyway
            leaf = features.detach().clone(memory_format=torch.channels_last).requires_grad_()
            scaling: list[Tensor] = []
            with torch.enable_grad():
                new = scale(project(hidden_channels(leaf, block), block), block, mask, scaling)
            ctx.graphs.append((leaf, new, scaling))
            return new.detach()

        def and_keep_the_projection(features: Tensor, block, mask) -> Tensor:
            kept.append(project(hidden_channels(features, block), block))
            return scale(kept[-1], block, mask)

        ctx.autocast, ctx.parts = _autocast(x.device), [*map(parts_of, blocks)]
        leaves = [leaf_of(p, p) for p in parameters]
        # those that the kept graphs lead to
        ctx.leaves = None if memory_efficient else leaves
        compute = and_keep_the_projection if memory_efficient else and_keep_the_graph
        with ctx.autocast():
            out = fill_buffer(x, with_tensors(ctx.parts, leaves), masks, compute)
        standing = stand_in(x)
        # what a convolution adds it does not keep, so that may be changed
        ctx.biases = [p if is_bias else None for p, is_bias in zip(parameters, are_biases(ctx.parts))]
        saved = [p if bias is None else p.detach().clone() for p, bias in zip(parameters, ctx.biases)]
        ctx.save_for_backward(standing, *saved, *kept)
        return out, standing

    @staticmethod
    def backward(ctx, grad: Tensor | None, of_stand_in: Tensor | None):
        if grad is None:
            return of_stand_in, *(None,) * (len(ctx.needs_input_grad) - 1)
        standing, *saved = ctx.saved_tensors
        count = len(ctx.needs_input_grad) - 4
        parameters, kept = saved[:count], saved[count:]
        with torch._C.DisableTorchFunction(), without_autocast(grad.device):
            if by_operations([grad]) or torch._C._functorch.is_legacy_batchedtensor(grad):
                x = ctx.graphs[0][0].detach() if ctx.leaves is not None else kept[0]
                of_x, *others = differentiable_backward(ctx, standing, x.to(ctx.x_dtype), parameters, grad)
            else:  # autograd differentiates the blocks, also where backward runs in inference mode
                with torch.inference_mode(False), torch.no_grad():
                    of_x, *others = stage_backward(ctx, parameters, kept, grad)
        if of_stand_in is not None:
            of_x = of_x + of_stand_in
        return of_x, None, None, None, *others


def _layout(x: Tensor) -> torch.memory_format:
    return torch.channels_last if is_channels_last(x) else torch.contiguous_format


def _autocast(device: torch.device) -> Callable[[], AbstractContextManager]:
    """Autocast as it is now, for now and for later; a weight is cast once either way, and a cache of casts that were
    made without gradients must not be used with them."""
    kind = device.type
    if not torch.amp.is_autocast_available(kind):
        return nullcontext
    state = dict(enabled=torch.is_autocast_enabled(kind), dtype=torch.get_autocast_dtype(kind), cache_enabled=False)
    return functools.partial(torch.autocast, kind, **state)
