"""RDNet's stage (arXiv:2403.19588): dense blocks of a depthwise 7x7 convolution, layer norm and two 1x1 convolutions.

``z_j = mask * gamma * eSE(W2 gelu(W1 LN(dw7x7([x, z_1, ..., z_{j-1}]))))``: each block reads the C_j channels before it
and adds g. :func:`rdnet_stage` is that formula with concatenations; :func:`buffered_rdnet_stage` is the same function:

- The features stay in one buffer (N, C0 + L * g, H, W), channels last, which is allocated once: a block reads its first
  C_j channels and writes its g, and the buffer is the stage's result. No concatenation is made or kept.
- Channels last, layer norm reads what the convolutions write as it is; eSE's gate, gamma and the mask of drop path are
  one factor for each image and channel, so that they take one pass.
- Backward goes from the last block to the first, with one buffer of gradients. Each block is differentiated by
  autograd, over a graph of its own: kept since forward, or, with ``memory_efficient``, built anew from the buffer. Then
  nothing of the 4 * C_j hidden channels is kept, only the g channels that the second convolution gave, which so need
  not be computed again.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import SimpleNamespace
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .block.contract import RefusedError, Tensors, check_modes, state_of, without_autocast
from .block.double_backward import Recomputation, by_operations, stand_in


class RDNetBlockModules(Protocol):
    """What a block gives; ``ese`` and ``gamma``, (g,), are None where it has none."""

    dwconv: nn.Module
    norm: nn.Module
    pwconv1: nn.Module
    act: nn.Module
    pwconv2: nn.Module
    ese: nn.Module | None
    gamma: Tensor | None

    def __call__(self, features: Sequence[Tensor], mask: Tensor | None) -> Tensor: ...


def rdnet_stage(x: Tensor, blocks: Sequence[RDNetBlockModules], masks: Sequence[Tensor | None]) -> Tensor:
    """Apply the L blocks of one stage, with concatenations; they are called, so hooks on them run.

    Args:
        x: (N, C0, H, W).
        blocks: block j reads C0 + j * g channels and gives g.
        masks: of drop path, for each block (N, 1, 1, 1), or None for 1.

    Returns:
        (N, C0 + L * g, H, W): the input first, then each block's channels.
    """
    features = [x]
    for block, mask in zip(blocks, masks, strict=True):
        features.append(block(features, mask))
    return torch.cat(features, 1)


def buffered_rdnet_stage(
    x: Tensor,
    blocks: Sequence[RDNetBlockModules],
    masks: Sequence[Tensor | None],
    memory_efficient: bool = False,
) -> Tensor:
    """As :func:`rdnet_stage`, without concatenations; for blocks of which :func:`why_not_buffered` says None.

    Args:
        memory_efficient: compute the hidden tensors again in backward, in the place of keeping them.
    """
    parameters = [p for block in blocks for p in _parameters(block)]
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (x, *parameters)):
        return _Stage.apply(x, blocks, masks, memory_efficient, *parameters)[0]
    return _run(x, blocks, masks, _block)


@torch.compiler.disable
def why_not_buffered(x: Tensor, blocks: Sequence[RDNetBlockModules]) -> str | None:
    """The reason for which these blocks cannot be computed by :func:`buffered_rdnet_stage`, or None if they can."""
    try:
        tensors = Tensors(x, check_modes(x), cast=True)
        for block in blocks:
            _check_block(block)
            for name, module in block.named_modules():
                own = state_of(module, type(module), name or 'a block')
                for tensor in (*own['_parameters'].values(), *own['_buffers'].values()):
                    if tensor is not None:
                        tensors.used.append(tensor)
                        if tensor.dtype not in tensors.weight_dtypes:
                            raise RefusedError('weights and features are of different types')
        tensors.check()
        tensors.needs_graph(False)
    except RefusedError as error:
        return str(error)
    except Exception as error:  # only modules and tensors are read above
        return f'{type(error).__name__}: {error}'
    return None


def _check_block(block: RDNetBlockModules) -> None:
    convolutions = [('dwconv', block.dwconv, 7), ('pwconv1', block.pwconv1, 1), ('pwconv2', block.pwconv2, 1)]
    if block.ese is not None:
        convolutions.append(('ese.fc', block.ese.fc, 1))
    for name, conv, kernel in convolutions:
        plain = (
            type(conv) is nn.Conv2d
            and (conv.kernel_size, conv.stride, conv.dilation) == ((kernel, kernel), (1, 1), (1, 1))
            and conv.padding == (kernel // 2, kernel // 2)
            and conv.padding_mode == 'zeros'
            and conv.groups == (conv.in_channels if kernel == 7 else 1)
            and conv.weight.shape == (conv.out_channels, conv.in_channels // conv.groups, kernel, kernel)
        )
        if not plain:
            raise RefusedError(f'{name} is no plain {kernel}x{kernel} convolution')
    if block.ese is not None and (block.ese.pool.output_size != 1 or type(block.ese.gate) is not nn.Hardsigmoid):
        raise RefusedError('ese has another pooling or gate')
    if not isinstance(block.norm, nn.LayerNorm):
        raise RefusedError(f'the norm is {type(block.norm).__name__}, not a layer norm')
    if type(block.act) is not nn.GELU:
        raise RefusedError(f'the activation is {type(block.act).__name__}, not GELU')


def _block(x: Tensor, block: RDNetBlockModules, mask: Tensor | None) -> Tensor:
    """(N, C, H, W) to (N, g, H, W)."""
    return _scale(_project(_hidden(x, block), block), block, mask)


def _hidden(x: Tensor, block: RDNetBlockModules) -> Tensor:
    """gelu(W1 LN(dw7x7(x))): (N, C, H, W) to (N, 4C, H, W)."""
    x = x.contiguous(memory_format=torch.channels_last)  # the convolution would copy, in forward and in backward
    norm = block.norm
    x = _convolution(x, block.dwconv).permute(0, 2, 3, 1)
    x = F.layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
    x = _convolution(x.permute(0, 3, 1, 2), block.pwconv1).permute(0, 2, 3, 1)
    if torch.is_grad_enabled():
        x = F.gelu(x, approximate=block.act.approximate)
    else:  # in place: this is the widest tensor, and nobody reads it before GELU
        x = torch.ops.aten.gelu_(x, approximate=block.act.approximate)
    return x.permute(0, 3, 1, 2)


def _project(hidden: Tensor, block: RDNetBlockModules) -> Tensor:
    """The second 1x1 convolution: (N, 4C, H, W) to (N, g, H, W)."""
    return _convolution(hidden, block.pwconv2)


def _convolution(x: Tensor, conv: nn.Module) -> Tensor:
    return F.conv2d(x, conv.weight, conv.bias, padding=conv.padding, groups=conv.groups)


def _scale(y: Tensor, block: RDNetBlockModules, mask: Tensor | None) -> Tensor:
    """eSE, gamma and drop path of (N, g, H, W), as one factor."""
    factor = mask
    if block.gamma is not None:
        gamma = block.gamma[:, None, None]
        factor = gamma if factor is None else gamma * factor
    if block.ese is not None:
        gate = F.hardsigmoid(_convolution(y.mean((2, 3), keepdim=True), block.ese.fc))
        factor = gate if factor is None else gate * factor
    return y if factor is None else y * factor


def _run(x: Tensor, blocks, masks, compute) -> Tensor:
    """Fill the buffer; ``compute`` gives a block's channels from the features before them."""
    n, channels, height, width = x.shape
    growth = [block.pwconv2.out_channels for block in blocks]
    buffer, features = None, x
    for block, mask, g in zip(blocks, masks, growth, strict=True):
        new = compute(features, block, mask)
        if buffer is None:  # of the type that a concatenation would have
            buffer = torch.empty(
                (n, channels + sum(growth), height, width),
                dtype=torch.promote_types(x.dtype, new.dtype),
                device=x.device,
                memory_format=torch.channels_last,
            )
            buffer[:, :channels] = x
        buffer[:, channels : channels + g] = new
        channels += g
        features = buffer[:, :channels]
    return x if buffer is None else buffer


def _parameters(module: nn.Module) -> Iterator[Tensor]:
    """In the order in which :func:`_with` takes them; one that is there twice comes twice."""
    yield from (p for p in module._parameters.values() if p is not None)
    for child in module._modules.values():
        if child is not None:
            yield from _parameters(child)


def _with(module: nn.Module, tensors: Iterator[Tensor]) -> SimpleNamespace:
    """The module as the functions above read it, with these tensors in the place of its parameters."""
    own = vars(module)
    parts = {name: value for name, value in own.items() if not name.startswith('_')}
    parts |= {name: None if p is None else next(tensors) for name, p in own['_parameters'].items()}
    parts |= {name: None if child is None else _with(child, tensors) for name, child in own['_modules'].items()}
    return SimpleNamespace(**parts)


class _Stage(torch.autograd.Function):
    """x, blocks, masks, ``memory_efficient``, the blocks' parameters -> features, and the stand-in of x."""

    @staticmethod
    def forward(ctx, x: Tensor, blocks, masks, memory_efficient: bool, *parameters: Tensor) -> tuple[Tensor, Tensor]:
        ctx.masks, ctx.x_dtype, ctx.channels = masks, x.dtype, x.shape[1]
        ctx.set_materialize_grads(False)
        projections, ctx.graphs = [], None if memory_efficient else []

        def and_keep_the_graph(features: Tensor, block, mask) -> Tensor:
            # .data: autograd is not to mind that later blocks write behind these channels
            leaf = (features.detach() if features is x else features.data).requires_grad_()
            with torch.enable_grad():
                new = _block(leaf, block, mask)
            ctx.graphs.append((leaf, new))
            return new.detach()

        def and_keep_the_projection(features: Tensor, block, mask) -> Tensor:
            projections.append(_project(_hidden(features, block), block))
            return _scale(projections[-1], block, mask)

        ctx.autocast, ctx.modules = _autocast(x.device), blocks
        leaves = _inner(parameters)
        # those that the kept graphs lead to
        ctx.leaves = None if memory_efficient else leaves
        compute = and_keep_the_projection if memory_efficient else and_keep_the_graph
        with ctx.autocast():
            out = _run(x, _with_all(blocks, leaves), masks, compute)
        standing = stand_in(x)
        # `out` in either case: it must not have been written to since
        ctx.save_for_backward(standing, out, *parameters, *projections)
        return out, standing

    @staticmethod
    def backward(ctx, grad: Tensor | None, of_stand_in: Tensor | None):
        if grad is None:
            return of_stand_in, *(None,) * (len(ctx.needs_input_grad) - 1)
        standing, features, *saved = ctx.saved_tensors
        count = len(ctx.needs_input_grad) - 4
        parameters, projections = saved[:count], saved[count:]
        with torch._C.DisableTorchFunction(), without_autocast(grad.device):
            if by_operations([grad]):
                of_x, *others = _by_operations(ctx, standing, features, parameters, grad)
            else:
                of_x, *others = _backward(ctx, features, parameters, projections, grad)
        if of_stand_in is not None:
            of_x = of_x + of_stand_in
        return of_x, None, None, None, *others


def _inner(parameters: Sequence[Tensor]) -> list[Tensor]:
    """Leaves in their place, which share their values and notice their changes.

    Hooks on a parameter are for the gradient that it gets in the end.
    """
    return [p.detach().requires_grad_(p.requires_grad) for p in parameters]


def _with_all(modules: Sequence[nn.Module], tensors: Sequence[Tensor]) -> list[SimpleNamespace]:
    each = iter(tensors)
    return [_with(module, each) for module in modules]


def _by_operations(ctx, standing: Tensor, features: Tensor, parameters: Sequence[Tensor], grad: Tensor) -> list:
    """The gradients of x and of the parameters, as a graph."""
    op = Recomputation()
    with op.recording(), ctx.autocast():
        found = [op.given(standing, features[:, : ctx.channels].to(ctx.x_dtype))]
        for block, mask in zip(_with_all(ctx.modules, [*map(op.given, parameters)]), ctx.masks):
            found.append(_block(torch.cat(found, 1), block, mask))
        out = torch.cat(found, 1)
    return op.gradients([out], [grad])


def _backward(ctx, features: Tensor, parameters: Sequence[Tensor], projections: Sequence[Tensor], grad: Tensor) -> list:
    """The gradients of x and of the parameters, block by block."""
    leaves = _inner(parameters) if ctx.leaves is None else ctx.leaves
    blocks = _with_all(ctx.modules, leaves)
    # a copy, to which the gradients of the features' other readers are added
    gradient = torch.empty_like(features).copy_(grad)
    found: dict[Tensor, Tensor | None] = {}
    end = features.shape[1]
    for j in reversed(range(len(blocks))):
        block = blocks[j]
        start = end - block.pwconv2.out_channels
        new = gradient[:, start:end]
        if ctx.graphs is None:
            leaf = features[:, :start].detach().requires_grad_()
            before = _recompute(leaf, projections[j], block, ctx.masks[j], new, ctx.autocast, found)
        else:
            before = _differentiate(ctx, j, new, block, found)
        gradient[:, :start] += before
        end = start
    return [gradient[:, : ctx.channels].to(ctx.x_dtype), *map(found.get, leaves)]


def _differentiate(ctx, j: int, new: Tensor, block, found: dict) -> Tensor:
    """The gradient of what block j reads, over the graph that forward kept; those of its parameters go to ``found``."""
    if ctx.graphs[j] is None:
        raise RuntimeError('backward a second time needs retain_graph=True in the first')
    leaf, out = ctx.graphs[j]
    again = torch._C._autograd._get_current_graph_task_keep_graph()
    if not again:
        ctx.graphs[j] = None
    return _gradients(out, new, leaf, _leaves(block), found, again)


def _recompute(leaf: Tensor, projection: Tensor, block, mask, new: Tensor, autocast, found: dict) -> Tensor:
    """The same over a graph that is built anew, but for the second convolution, of which only backward is computed."""
    projection = projection.detach().requires_grad_()
    with torch.enable_grad(), autocast():
        out = _scale(projection, block, mask)
    scaling = [*([] if block.gamma is None else [block.gamma]), *([] if block.ese is None else _leaves(block.ese))]
    grad = _gradients(out, new, projection, scaling, found)
    with torch.enable_grad(), autocast():
        hidden = _hidden(leaf, block)
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
    rest = [p for part in (block.dwconv, block.norm, block.pwconv1) for p in _leaves(part)]
    return _gradients(hidden, grad, leaf, rest, found)


def _leaves(part: SimpleNamespace) -> Iterator[Tensor]:
    for value in vars(part).values():
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, SimpleNamespace):
            yield from _leaves(value)


def _gradients(out: Tensor, grad: Tensor, leaf: Tensor, parameters, found: dict, again: bool = False) -> Tensor:
    wanted = [p for p in parameters if p.requires_grad]
    of_leaf, *values = torch.autograd.grad(out, [leaf, *wanted], grad.to(out.dtype), retain_graph=again)
    found.update(zip(wanted, values, strict=True))
    return of_leaf


def _autocast(device: torch.device) -> Callable[[], AbstractContextManager]:
    """Autocast as it is now, for now and for later; a weight is cast once either way, and a cache of casts that were
    made without gradients must not be used with them."""
    kind = device.type
    if not torch.amp.is_autocast_available(kind):
        return nullcontext
    state = dict(enabled=torch.is_autocast_enabled(kind), dtype=torch.get_autocast_dtype(kind), cache_enabled=False)
    return functools.partial(torch.autocast, kind, **state)
