"""Decides how a block, a stage (a block and its transition) and a stem are computed; nothing else decides that.

A function looks at modules and input and returns a :class:`Plan` or a :class:`StemPlan`, which the models execute and
:func:`why_not_fused` reads. :mod:`.contract` has the conditions for every module and tensor. A block also needs one
bottleneck width, one growth rate and one kind of norm, which are checked here. One pass over the modules checks them
and collects the tensors to compute with.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..norms import Group, Norm
from ..rows import is_channels_last
from .contract import RefusedError, Tensors, check_modes, state_of
from .read_modules import NormReader, as_pair, drop_rate_of, read_conv
from .reference import DenseLayerModules


class Layer(NamedTuple):
    """The tensors of a dense layer; ``norm2`` and ``conv2`` are None without a bottleneck."""

    norm1: Norm
    conv1: Tensor
    norm2: Norm | None
    conv2: Tensor | None


class Transition(NamedTuple):
    """The tensors of a transition."""

    norm: Norm
    conv: Tensor


@dataclass
class Plan:
    """How a block, with or without its transition, is computed.

    ``reason`` is why the reference computes it; the other attributes are then meaningless. It is None for a fused
    block. :func:`.evaluate.evaluate_block` computes that in evaluation without gradients, :mod:`.fused` otherwise.
    """

    reason: str | None = None
    layers: list[Layer] = field(default_factory=list)
    transition: Transition | None = None
    #: the norms use the batch's statistics
    training: bool = False
    #: one of the tensors needs a gradient
    graph: bool = False
    eps: float = 0.0
    group: Group | None = None
    #: the reference's features would be in NCHW order in memory, not channels-last
    contiguous: bool = False
    #: the same of each layer's own feature maps, in whose memory order dropout draws
    layers_contiguous: bool = False
    drop_rates: list[float] = field(default_factory=list)
    #: of the dropout after the bottlenecks
    inner_drop_rates: list[float] = field(default_factory=list)

    @property
    def evaluated(self) -> bool:
        return not (self.training or self.graph or any(self.drop_rates) or any(self.inner_drop_rates))

    def parameters(self) -> list[Tensor]:
        """The tensors with gradients: norm weight, norm bias and convolution of each layer, then of the transition."""
        found = []
        for norm1, conv1, norm2, conv2 in self.layers:
            found += norm1.weight, norm1.bias, conv1
            if norm2 is not None:
                found += norm2.weight, norm2.bias, conv2
        if self.transition is not None:
            norm, conv = self.transition
            found += norm.weight, norm.bias, conv
        return found

    def running_statistics(self) -> list[Tensor]:
        """Running means and variances as torch's batch norm saves them, so that backward detects in-place changes.

        A synchronised batch norm does not save them: the list is empty then.
        """
        norms = [norm for layer in self.layers for norm in (layer.norm1, layer.norm2) if norm is not None]
        norms += [] if self.transition is None else [self.transition.norm]
        return [] if self.group is not None else [tensor for norm in norms for tensor in (norm.mean, norm.var)]

    @property
    def out_contiguous(self) -> bool:
        """Whether the reference's output of the transition would be in NCHW order in memory."""
        return self.contiguous and not is_channels_last(self.transition.conv)

    def settings(self) -> 'Plan':
        """The plan without its tensors."""
        return replace(self, layers=[], transition=None)


@dataclass
class StemPlan:
    """How norm, ReLU and max pooling of the ImageNet stem are computed. ``reason`` is as in :class:`Plan`."""

    reason: str | None = None
    norm: Norm | None = None
    #: weight of the convolution before them, where it is computed with them
    conv: Tensor | None = None
    training: bool = False
    graph: bool = False
    eps: float = 0.0
    group: Group | None = None


@torch.compiler.disable
def why_not_fused(x: Tensor, layers: Iterable[DenseLayerModules]) -> str | None:
    """Return why these layers cannot be computed by :func:`fused_dense_block`, or None if they can.

    Args:
        x: the block's input, (N, C0, H, W).
        layers: as for :func:`fused_dense_block`.
    """
    return plan_block(x, layers).reason


def plan_block(x: Tensor, layers: Iterable[DenseLayerModules]) -> Plan:
    """Return how the layers of a block are computed for the features x, (N, C0, H, W)."""
    return _plan_or_reason(Plan, lambda: _read_block(x, list(layers), check_modes(x)))


def plan_stage(
    x: Tensor,
    layers: Iterable[DenseLayerModules],
    transition: nn.Module,
    block: nn.Module | None = None,
    contiguous: bool | None = None,
) -> Plan:
    """Return how the layers are computed for x, (N, C0, H, W), together with the transition after them.

    If the reason is not None, the block may still be fused without the transition.

    Args:
        block: the module that contains the layers.
        contiguous: whether the reference's feature maps would be in NCHW order; None if they would be as x is.
    """
    return _plan_or_reason(Plan, lambda: _read_stage(x, layers, transition, block, contiguous))


def plan_stem(x: Tensor, stem: nn.Module, images: bool = False) -> StemPlan:
    """How a stem is computed after its convolution, whose output is x; with ``images``, the whole stem of images x."""
    return _plan_or_reason(StemPlan, lambda: _read_stem(x, stem, images))


@torch.compiler.disable
def is_stem(x: Tensor, stem: nn.Module) -> bool:
    """Whether the stem of images x may be computed in parts: a call of its convolution, then a fused op."""

    def read() -> StemPlan:
        check_modes(x)
        _stem_parts(stem)
        return StemPlan()

    return _plan_or_reason(StemPlan, read).reason is None


def _plan_or_reason(kind: type, read: Callable):
    try:
        return read()
    except RefusedError as error:
        return kind(str(error))
    except Exception as error:
        # `read` only reads modules and tensors: an unreadable one is not what the contract describes
        return kind(f'{type(error).__name__}: {error}')


def _read_stage(
    x: Tensor, layers: Iterable, transition: nn.Module, block: nn.Module | None, contiguous: bool | None
) -> Plan:
    if tuple(transition._modules) not in (('norm', 'act', 'conv', 'pool'), ('norm', 'act', 'conv', 'drop', 'pool')):
        raise RefusedError('the transition has other parts')
    counting = check_modes(x)
    state_of(transition, type(transition), 'the transition')
    if block is not None:
        state_of(block, type(block), 'the block')
    parts = transition._modules
    if 'drop' in parts:
        # between convolution and pooling, so pooling cannot come first
        drop = state_of(parts['drop'], nn.Dropout, "the transition's dropout")
        if drop['training'] and drop['p'] != 0:
            raise RefusedError('there is dropout in the transition')
    pool = state_of(parts['pool'], nn.AvgPool2d, 'the pooling')
    sizes = [as_pair(pool[name]) for name in ('kernel_size', 'stride', 'padding')]
    if (
        sizes != [(2, 2), (2, 2), (0, 0)]
        or pool['ceil_mode']
        or pool['divisor_override'] is not None
        or min(x.shape[2:]) < 2
    ):
        raise RefusedError('the pooling is not 2x2 with stride 2')
    state_of(parts['act'], nn.ReLU, 'the activation')
    return _read_block(x, list(layers), counting, transition, contiguous)


def _read_block(
    x: Tensor,
    layers: Sequence[DenseLayerModules],
    counting: bool,
    transition: nn.Module | None = None,
    contiguous: bool | None = None,
) -> Plan:
    tensors = Tensors(x, counting)
    if not layers:
        raise RefusedError('there are no layers')
    cls = type(layers[0])
    first = layers[0]._modules
    norms = NormReader(first['norm1'], x, tensors)
    bottleneck = first.get('conv2') is not None
    width = first['conv1']._parameters['weight'].shape[0]
    growth = first['conv2']._parameters['weight'].shape[0] if bottleneck else width
    channels = x.shape[1]
    plan = Plan(training=norms.training, eps=norms.eps, group=norms.group)
    for layer in layers:
        own = state_of(layer, cls, 'a layer')
        parts = own['_modules']
        state_of(parts['act'], nn.ReLU, 'the activation')
        norm1 = norms.read(parts['norm1'], channels)
        if bottleneck:
            conv1 = read_conv(parts['conv1'], (width, channels, 1, 1), tensors)
            norm2 = norms.read(parts['norm2'], width)
            conv2 = read_conv(parts['conv2'], (growth, width, 3, 3), tensors)
            if 'conv2' in own or 'norm2' in own:
                raise RefusedError('a layer has parts of its own')
        else:
            conv1 = read_conv(parts['conv1'], (growth, channels, 3, 3), tensors)
            norm2 = conv2 = None
            if (parts.get('conv2') or own.get('conv2') or parts.get('norm2') or own.get('norm2')) is not None:
                raise RefusedError('layers with and without a bottleneck are mixed')
        plan.layers.append(Layer(norm1, conv1, norm2, conv2))
        plan.drop_rates.append(drop_rate_of(own, 'drop_rate'))
        plan.inner_drop_rates.append(drop_rate_of(own, 'bottleneck_drop_rate') if bottleneck else 0.0)
        channels += growth
    if transition is not None:
        parts = transition._modules
        norm, weight = norms.read(parts['norm'], channels), parts['conv']._parameters['weight']
        conv = read_conv(parts['conv'], (weight.shape[0], channels, 1, 1), tensors)
        plan.transition = Transition(norm, conv)
    tensors.check()
    plan.contiguous = x.is_contiguous() or not is_channels_last(x) if contiguous is None else contiguous
    if any(plan.drop_rates) or any(plan.inner_drop_rates):
        _check_order(x, plan)
    plan.graph = tensors.needs_graph(norms.training)
    return plan


def _check_order(x: Tensor, plan: Plan) -> None:
    """Refuse mixed memory orders: dropout draws in that of the reference's maps, known only if all have the same."""
    convolutions = [conv for layer in plan.layers for conv in (layer.conv1, layer.conv2) if conv is not None]
    if plan.transition is not None:
        convolutions.append(plan.transition.conv)
    # a 1x1 weight is contiguous in either order; torch tells them apart by the strides
    orders = {conv.stride(3) == 1 for conv in convolutions if conv.shape[1] > 1}
    if len(orders) > 1 or not (x.is_contiguous() or x.is_contiguous(memory_format=torch.channels_last)):
        raise RefusedError('dropout draws in the order in memory, and features and weights are in different ones')
    plan.layers_contiguous = plan.contiguous and False not in orders


def _stem_parts(stem: nn.Module) -> list[nn.Module]:
    parts = list(stem._modules.values())
    if len(parts) != 4 or tuple(stem._modules) != ('0', '1', '2', '3'):
        raise RefusedError('the stem has other parts')
    state_of(stem, nn.Sequential, 'the stem')
    state_of(parts[2], nn.ReLU, 'the activation')
    pool = state_of(parts[3], nn.MaxPool2d, 'the pooling')
    sizes = [as_pair(pool[name]) for name in ('kernel_size', 'stride', 'padding', 'dilation')]
    if sizes != [(3, 3), (2, 2), (1, 1), (1, 1)] or pool['ceil_mode'] or pool['return_indices']:
        raise RefusedError('the pooling is not 3x3 with stride 2')
    return parts


def _read_stem(x: Tensor, stem: nn.Module, images: bool) -> StemPlan:
    tensors = Tensors(x, check_modes(x))
    conv, norm, *_ = _stem_parts(stem)
    weight = None
    if images:
        shape = conv._parameters['weight'].shape
        weight = read_conv(conv, (shape[0], x.shape[1], 7, 7), tensors, stride=2)
    norms = NormReader(norm, x, tensors)
    read = norms.read(norm, weight.shape[0] if images else x.shape[1])
    tensors.check()
    if images and weight.dtype is not x.dtype:
        raise RefusedError('the convolution is computed under autocast')
    graph = tensors.needs_graph(norms.training)
    if images and (norms.training or graph):
        raise RefusedError('the whole stem is for evaluation without gradients')
    return StemPlan(None, read, weight, norms.training, graph, norms.eps, norms.group)
