"""The backward pass of RDNet's buffered stage, from the last block to the first, with one buffer of gradients.

Each block is differentiated by autograd, over a graph of its own: kept since forward, or built anew from the features.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..block.double_backward import Recomputation
from .module_parts import leaf_of, tensors_of, with_tensors
from .rdnet_stage import block_channels, fill_buffer, hidden_channels, scale


def stage_backward(ctx, parameters: Sequence[Tensor], kept: Sequence[Tensor], grad: Tensor) -> list:
    """The gradients of x and of the parameters, block by block."""
    if ctx.leaves is None:
        leaves = [leaf_of(p, p if bias is None else bias) for p, bias in zip(parameters, ctx.biases)]
    else:
        leaves = ctx.leaves
        for leaf, parameter, bias in zip(leaves, parameters, ctx.biases):
            if bias is None and leaf.data_ptr() != parameter.data_ptr():  # it has got other data, which backward reads
                leaf.data = parameter.data
    blocks = with_tensors(ctx.parts, leaves)
    if kept:
        x, *projections = kept
        each = iter(projections)
        with ctx.autocast():
            features = fill_buffer(x, blocks, ctx.masks, lambda _, block, mask: scale(next(each), block, mask))
    # a copy, to which the gradients of the features' other readers are added
    gradient = torch.empty_like(grad, memory_format=torch.channels_last).copy_(grad)
    found: dict[Tensor, Tensor | None] = {}
    end = gradient.shape[1]
    for j in reversed(range(len(blocks))):
        block = blocks[j]
        start = end - block.pwconv2.out_channels
        new = gradient[:, start:end]
        if kept:
            leaf = features[:, :start].detach().requires_grad_()
            before = _recompute(leaf, projections[j], block, ctx.masks[j], new, ctx.autocast, found)
        else:
            before = _differentiate(ctx, j, new, block, found)
        gradient[:, :start] += before
        end = start
    of_x = gradient[:, :end].to(ctx.x_dtype).contiguous(memory_format=ctx.x_layout) if ctx.needs_input_grad[0] else None
    return [of_x, *map(found.get, leaves)]


def _differentiate(ctx, j: int, new: Tensor, block, found: dict) -> Tensor:
    """The gradient of what block j reads, over the graph that forward kept; those of its parameters go to ``found``."""
    if ctx.graphs[j] is None:
        raise RuntimeError('backward a second time needs retain_graph=True in the first')
    leaf, out, scaling = ctx.graphs[j]
    if scaling:  # with gamma as it is by now: it may have been changed unseen
        factor, other, gamma = scaling
        factor.data.copy_(other * gamma)
    again = torch._C._autograd._get_current_graph_task_keep_graph()
    if not again:
        ctx.graphs[j] = None
    return _gradients(out, new, leaf, tensors_of(block), found, again)


def _recompute(leaf: Tensor, projection: Tensor, block, mask, new: Tensor, autocast, found: dict) -> Tensor:
    """The same over a graph that is built anew, but for the second convolution, of which only backward is computed."""
    projection = projection.detach().requires_grad_()
    with torch.enable_grad(), autocast():
        out = scale(projection, block, mask)
    scaling = [*([] if block.gamma is None else [block.gamma]), *([] if block.ese is None else tensors_of(block.ese))]
    grad = _gradients(out, new, projection, scaling, found)
    with torch.enable_grad(), autocast():
        hidden = hidden_channels(leaf, block)
    second = block.pwconv2
    wanted = [True, second.weight.requires_grad, second.bias is not None and second.bias.requires_grad]
    grad, weight, bias = torch.ops.aten.convolution_backward(
        grad,
        hidden.detach(),
        second.weight.to(grad.dtype),
        [len(new[0])],
        [1, 1],
        [0, 0],
        [1, 1],
        False,
        [0, 0],
        1,
        wanted,
    )
    for parameter, value in ((second.weight, weight), (second.bias, bias)):
        if value is not None:
            found[parameter] = value.to(parameter.dtype)
    rest = [p for part in (block.dwconv, block.norm, block.pwconv1) for p in tensors_of(part)]
    return _gradients(hidden, grad, leaf, rest, found)


def _gradients(out: Tensor, grad: Tensor, leaf: Tensor, parameters, found: dict, again: bool = False) -> Tensor:
    wanted = [p for p in parameters if p.requires_grad]
    of_leaf, *values = torch.autograd.grad(out, [leaf, *wanted], grad.to(out.dtype), retain_graph=again)
    found.update(zip(wanted, values, strict=True))
    return of_leaf


def differentiable_backward(ctx, standing: Tensor, x: Tensor, parameters: Sequence[Tensor], grad: Tensor) -> list:
    """The gradients of x and of the parameters, as a graph."""
    op = Recomputation()
    with op.recording(), ctx.autocast():
        found = [op.given(standing, x)]
        given = [op.given(p) if bias is None else op.given(bias, p) for p, bias in zip(parameters, ctx.biases)]
        for block, mask in zip(with_tensors(ctx.parts, given), ctx.masks):
            found.append(block_channels(torch.cat(found, 1), block, mask))
        out = torch.cat(found, 1)
    return op.gradients([out], [grad])
