"""RDNet's stage (arXiv:2403.19588): dense blocks of a depthwise 7x7 convolution, layer norm and two 1x1 convolutions.

``z_j = mask * gamma * eSE(W2 gelu(W1 LN(dw7x7([x, z_1, ..., z_{j-1}]))))``: each block reads the C_j channels before it
and adds g. :func:`rdnet_stage` is that formula with concatenations; :func:`buffered_rdnet_stage` is the same function:

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
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import SimpleNamespace
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .block.contract import RefusedError, Tensors, check_modes, state_of, without_autocast
from .block.double_backward import Recomputation, by_operations, stand_in
from .rows import is_channels_last


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
        out = _Stage.apply(x, blocks, masks, memory_efficient, *parameters)[0]
    else:
        out = _run(x, blocks, masks, _block)
    # as a concatenation, in which the blocks' channels lie channels last
    return out if is_channels_last(x) else out.contiguous()


@torch.compiler.disable
def why_not_buffered(x: Tensor, blocks: Sequence[RDNetBlockModules]) -> str | None:
    """The reason for which these blocks cannot be computed by :func:`buffered_rdnet_stage`, or None if they can."""
    try:
        tensors = Tensors(x, check_modes(x), cast=True)
        if not len(blocks):
            raise RefusedError('there are no blocks')
        scaled = [_check_block(block, type(blocks[0]), tensors) for block in blocks]
        if len(set(scaled)) > 1:  # whose channels may be of different types
            raise RefusedError('blocks with and without gamma are mixed')
        if not set(tensors.weight_dtypes).issuperset(tensor.dtype for tensor in tensors.used[1:]):
            raise RefusedError('weights and features are of different types')
        tensors.check()
        tensors.needs_graph(False)
    except RefusedError as error:
        return str(error)
    except Exception as error:  # only modules and tensors are read above
        return f'{type(error).__name__}: {error}'
    return None


#: the modules of a block and of its ese, and their kernel where they are convolutions
_PARTS = dict(dwconv=7, norm=None, pwconv1=1, act=None, pwconv2=1)
_PARTS_OF_ESE = dict(pool=None, fc=1, gate=None)


def _check_block(block: RDNetBlockModules, cls: type, tensors: Tensors) -> bool:
    """Refuse other blocks, collect the tensors; whether there is a gamma."""
    ese, gamma = _read(block, cls, 'a block', _PARTS, tensors)
    if ese is not None:
        _read(ese, type(ese), 'ese', _PARTS_OF_ESE, tensors)
    return gamma is not None


def _read(module: nn.Module, cls: type, what: str, kernels: dict[str, int | None], tensors: Tensors) -> tuple:
    """``ese`` and ``gamma``, of a module that has the parts of these names, and nothing else."""
    own = state_of(module, cls, what)
    parts, parameters = own['_modules'], own['_parameters']
    optional = parts.get('ese'), parameters.get('gamma')
    if isinstance(module, nn.Sequential) or own['_buffers'] or parts.keys() - {'ese'} != kernels.keys():
        raise RefusedError(f'{what} has other parts')
    # what is None, or no parameter, lies in the instance, and comes first there
    if own.get('ese', optional[0]) is not optional[0] or own.get('gamma', optional[1]) is not optional[1]:
        raise RefusedError(f'{what} has parts of its own')
    if parameters.keys() - {'gamma'}:
        raise RefusedError(f'{what} has other parameters')
    if optional[1] is not None:
        tensors.used.append(optional[1])
    for name, kernel in kernels.items():
        part = parts[name]
        name = name if what == 'a block' else f'{what}.{name}'
        of_part = state_of(part, type(part), name)
        _check_kind(name, part, kernel)
        tensors.used += [tensor for tensor in of_part['_parameters'].values() if tensor is not None]
        allowed = {'weight', 'bias'} if kernel or name == 'norm' else set()
        if of_part['_buffers'] or of_part['_modules'] or not of_part['_parameters'].keys() <= allowed:
            raise RefusedError(f'{name} has other tensors or parts')
    return optional


def _check_kind(name: str, part: nn.Module, kernel: int | None) -> None:
    cls = type(part)
    if kernel and not _is_plain(part, kernel):
        raise RefusedError(f'{name} is no plain {kernel}x{kernel} convolution')
    if name == 'norm' and (cls is nn.LayerNorm or not issubclass(cls, nn.LayerNorm)):  # torch's is over the last axis
        raise RefusedError(f'the norm is {cls.__name__}, not a layer norm over channels')
    if name == 'norm' and type(part.eps) not in (float, int):
        raise RefusedError('eps of a norm is no number')
    if name == 'act' and cls is not nn.GELU:
        raise RefusedError(f'the activation is {cls.__name__}, not GELU')
    if (name == 'ese.pool' and part.output_size != 1) or (name == 'ese.gate' and cls is not nn.Hardsigmoid):
        raise RefusedError('ese has another pooling or gate')


def _is_plain(conv: nn.Module, kernel: int) -> bool:
    return (
        type(conv) is nn.Conv2d
        and (conv.kernel_size, conv.stride, conv.dilation) == ((kernel, kernel), (1, 1), (1, 1))
        and conv.padding == (kernel // 2, kernel // 2)
        and conv.padding_mode == 'zeros'
        and conv.groups == (conv.in_channels if kernel == 7 else 1)
        and conv.weight.shape == (conv.out_channels, conv.in_channels // conv.groups, kernel, kernel)
    )


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


def _scale(y: Tensor, block: RDNetBlockModules, mask: Tensor | None, parts: list | None = None) -> Tensor:
    """eSE, gamma and drop path of (N, g, H, W), as one factor, which with its two parts is added to ``parts``."""
    gate = gamma = None
    if block.ese is not None:
        gate = F.hardsigmoid(_convolution(y.mean((2, 3), keepdim=True), block.ese.fc))
    if block.gamma is not None:
        gamma = block.gamma[:, None, None]
    if y.dtype is torch.float16:  # in which the product of gate and gamma, 1e-6, would have few digits left
        return functools.reduce(torch.mul, [factor for factor in (gate, gamma, mask) if factor is not None], y)
    other = _product(gate, mask)
    factor = _product(other, gamma)
    if parts is not None and other is not None and gamma is not None:
        parts += factor, other, gamma
    return y if factor is None else y * factor


def _product(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    return other if one is None else one if other is None else one * other


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
    return buffer


def _parameters(module: nn.Module) -> Iterator[Tensor]:
    """In the order in which :func:`_with` takes them; one that is there twice comes twice."""
    yield from (p for p in module._parameters.values() if p is not None)
    for child in module._modules.values():
        if child is not None:
            yield from _parameters(child)


class _Parts(NamedTuple):
    """A module's settings, the names of its parameters, which may be None, and its parts."""

    settings: dict[str, object]
    parameters: dict[str, bool]
    children: 'dict[str, _Parts | None]'


def _parts(module: nn.Module) -> _Parts:
    """The module as it is now: backward is that of forward, whatever has been changed since."""
    own = vars(module)
    return _Parts(
        {name: value for name, value in own.items() if not (name.startswith('_') or isinstance(value, Tensor))},
        {name: p is not None for name, p in own['_parameters'].items()},
        {name: None if child is None else _parts(child) for name, child in own['_modules'].items()},
    )


def _with(parts: _Parts, tensors: Iterator[Tensor]) -> SimpleNamespace:
    """The module as the functions above read it, with these tensors as its parameters."""
    parameters = {name: next(tensors) if there else None for name, there in parts.parameters.items()}
    children = {name: child and _with(child, tensors) for name, child in parts.children.items()}
    return SimpleNamespace(**parts.settings | parameters | children)


def _are_biases(blocks: Sequence[_Parts]) -> Iterator[bool]:
    """Of each parameter, whether it is a convolution's bias."""
    for parts in blocks:
        yield from (name == 'bias' and 'padding' in parts.settings for name, there in parts.parameters.items() if there)
        yield from _are_biases([child for child in parts.children.values() if child is not None])


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
                new = _scale(_project(_hidden(leaf, block), block), block, mask, scaling)
            ctx.graphs.append((leaf, new, scaling))
            return new.detach()

        def and_keep_the_projection(features: Tensor, block, mask) -> Tensor:
            kept.append(_project(_hidden(features, block), block))
            return _scale(kept[-1], block, mask)

        ctx.autocast, ctx.parts = _autocast(x.device), [*map(_parts, blocks)]
        leaves = [_leaf(p, p) for p in parameters]
        # those that the kept graphs lead to
        ctx.leaves = None if memory_efficient else leaves
        compute = and_keep_the_projection if memory_efficient else and_keep_the_graph
        with ctx.autocast():
            out = _run(x, _with_all(ctx.parts, leaves), masks, compute)
        standing = stand_in(x)
        # what a convolution adds it does not keep, so that may be changed
        ctx.biases = [p if is_bias else None for p, is_bias in zip(parameters, _are_biases(ctx.parts))]
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
                of_x, *others = _by_operations(ctx, standing, x.to(ctx.x_dtype), parameters, grad)
            else:
                of_x, *others = _backward(ctx, parameters, kept, grad)
        if of_stand_in is not None:
            of_x = of_x + of_stand_in
        return of_x, None, None, None, *others


def _layout(x: Tensor) -> torch.memory_format:
    return torch.channels_last if is_channels_last(x) else torch.contiguous_format


def _leaf(values: Tensor, parameter: Tensor) -> Tensor:
    """In a parameter's place, which shares the values and notices their changes.

    Hooks on a parameter are for the gradient that it gets in the end.
    """
    return values.detach().requires_grad_(parameter.requires_grad)


def _with_all(parts: Sequence[_Parts], tensors: Sequence[Tensor]) -> list[SimpleNamespace]:
    each = iter(tensors)
    return [_with(block, each) for block in parts]


def _by_operations(ctx, standing: Tensor, x: Tensor, parameters: Sequence[Tensor], grad: Tensor) -> list:
    """The gradients of x and of the parameters, as a graph."""
    op = Recomputation()
    with op.recording(), ctx.autocast():
        found = [op.given(standing, x)]
        given = [op.given(p) if bias is None else op.given(bias, p) for p, bias in zip(parameters, ctx.biases)]
        for block, mask in zip(_with_all(ctx.parts, given), ctx.masks):
            found.append(_block(torch.cat(found, 1), block, mask))
        out = torch.cat(found, 1)
    return op.gradients([out], [grad])


def _backward(ctx, parameters: Sequence[Tensor], kept: Sequence[Tensor], grad: Tensor) -> list:
    """The gradients of x and of the parameters, block by block."""
    if ctx.leaves is None:
        leaves = [_leaf(p, p if bias is None else bias) for p, bias in zip(parameters, ctx.biases)]
    else:
        leaves = ctx.leaves
        for leaf, parameter, bias in zip(leaves, parameters, ctx.biases):
            if bias is None and leaf.data_ptr() != parameter.data_ptr():  # it has got other data, which backward reads
                leaf.data = parameter.data
    blocks = _with_all(ctx.parts, leaves)
    if kept:
        x, *projections = kept
        each = iter(projections)
        with ctx.autocast():
            features = _run(x, blocks, ctx.masks, lambda _, block, mask: _scale(next(each), block, mask))
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
