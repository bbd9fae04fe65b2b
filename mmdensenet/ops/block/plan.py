"""How a block, a stage (a block and its transition) and a stem are computed: the one place where that is decided.

A function looks at modules and input and returns a :class:`Plan` or a :class:`StemPlan`, which the models execute and
:func:`why_not_fused` reads. What has to hold is in :mod:`.contract`; what else a block needs is here: one width, one
growth rate, one kind of norm. One pass over the modules both asks and collects the tensors to compute with.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..norms import Group, Norm
from .contract import RefusedError, Tensors, check_modes, is_known, state_of
from .reference import DenseLayerModules


class Layer(NamedTuple):
    """Tensors of a dense layer; ``norm2`` and ``conv2`` are None without a bottleneck."""

    norm1: Norm
    conv1: Tensor
    norm2: Norm | None
    conv2: Tensor | None


class Transition(NamedTuple):
    """Tensors of a transition."""

    norm: Norm
    conv: Tensor


@dataclass
class Plan:
    """How a block, with or without its transition, is computed.

    ``reason`` says why by the reference, and the rest means nothing then. It is None where the block is fused, in
    evaluation without gradients by :func:`.evaluate.evaluate_block`, else by :mod:`.fused`.
    """

    reason: str | None = None
    layers: list[Layer] = field(default_factory=list)
    transition: Transition | None = None
    #: the norms use the batch's statistics
    training: bool = False
    #: a tensor that is used needs a gradient
    graph: bool = False
    eps: float = 0.0
    group: Group | None = None
    #: the reference's features would lie in memory as (N, C, H, W), not channels last
    contiguous: bool = False
    #: each layer's own maps would, in whose order dropout draws
    layers_contiguous: bool = False
    drop_rates: list[float] = field(default_factory=list)
    #: of the bottlenecks
    inner_drop_rates: list[float] = field(default_factory=list)

    @property
    def evaluated(self) -> bool:
        return not (self.training or self.graph or any(self.drop_rates) or any(self.inner_drop_rates))

    def parameters(self) -> list[Tensor]:
        """All that has a gradient: of each layer, then of the transition, norm's weight and bias, convolution."""
        found = []
        for norm1, conv1, norm2, conv2 in self.layers:
            found += norm1.weight, norm1.bias, conv1
            if norm2 is not None:
                found += norm2.weight, norm2.bias, conv2
        if self.transition is not None:
            norm, conv = self.transition
            found += norm.weight, norm.bias, conv
        return found

    def noticed(self) -> list[Tensor]:
        """What the reference's batch norms keep too, and mind if it is changed in place before backward."""
        norms = [norm for layer in self.layers for norm in (layer.norm1, layer.norm2) if norm is not None]
        norms += [] if self.transition is None else [self.transition.norm]
        return [] if self.group is not None else [tensor for norm in norms for tensor in (norm.mean, norm.var)]

    @property
    def out_contiguous(self) -> bool:
        """Whether the reference's result of the transition would lie in memory as (N, C, H, W)."""
        return self.contiguous and not lies_channels_last(self.transition.conv)

    def settings(self) -> 'Plan':
        """The plan without its tensors."""
        return replace(self, layers=[], transition=None)


@dataclass
class StemPlan:
    """How norm, ReLU and max pooling of the ImageNet stem are computed; ``reason`` as in :class:`Plan`."""

    reason: str | None = None
    norm: Norm | None = None
    #: weight of the convolution in front, where it is computed with the rest
    conv: Tensor | None = None
    training: bool = False
    graph: bool = False
    eps: float = 0.0
    group: Group | None = None


@torch.compiler.disable
def why_not_fused(x: Tensor, layers: Iterable[DenseLayerModules]) -> str | None:
    """The reason for which these layers cannot be computed by :func:`fused_dense_block`, or None if they can."""
    return plan_block(x, layers).reason


def plan_block(x: Tensor, layers: Iterable[DenseLayerModules]) -> Plan:
    """How the layers of a block are computed for the features x, (N, C0, H, W)."""
    return _asked(Plan, lambda: _read_block(x, list(layers), check_modes(x)))


def plan_stage(
    x: Tensor,
    layers: Iterable[DenseLayerModules],
    transition: nn.Module,
    block: nn.Module | None = None,
    contiguous: bool | None = None,
) -> Plan:
    """How the layers are computed together with the transition behind them.

    Where the reason is not None the block may still be fused without the transition, once it is called.

    Args:
        block: the module that has the layers.
        contiguous: whether the reference's maps would be; None where they would be as x is.
    """
    return _asked(Plan, lambda: _read_stage(x, layers, transition, block, contiguous))


def plan_stem(x: Tensor, stem: nn.Module, images: bool = False) -> StemPlan:
    """How a stem is computed behind its convolution, whose result is x; or all of it, where x are the images."""
    return _asked(StemPlan, lambda: _read_stem(x, stem, images))


@torch.compiler.disable
def is_stem(x: Tensor, stem: nn.Module) -> bool:
    """Whether the stem of images x may be computed part by part, its convolution by a call of that."""

    def read() -> StemPlan:
        check_modes(x)
        _stem_parts(stem)
        return StemPlan()

    return _asked(StemPlan, read).reason is None


def _asked(kind: type, read: Callable):
    try:
        return read()
    except RefusedError as error:
        return kind(str(error))
    except Exception as error:
        # only modules and tensors are read above: what cannot be read is not what the contract knows
        return kind(f'{type(error).__name__}: {error}')


class _Norms:
    """The norms of one block or stem, all like the first: kind, mode, eps, and ranks over which they are taken."""

    def __init__(self, first: nn.Module, x: Tensor, tensors: Tensors):
        self.cls, self.tensors = type(first), tensors
        if not (issubclass(self.cls, _BatchNorm) and is_known(self.cls)):
            raise RefusedError(f'the norm is {self.cls.__name__}, not a BatchNorm2d or SyncBN with running statistics')
        own = first.__dict__
        self.settings = _settings(own)
        self.training, self.eps, self.process_group = bool(own['training']), own['eps'], own.get('process_group')
        self._check(*self.settings)
        if type(self.eps) is not float or not self.eps > 0:
            raise RefusedError('eps of a norm is no positive number')
        self.group = None
        if self.training and 'process_group' in own and dist.is_available() and dist.is_initialized():
            if self.cls is nn.SyncBatchNorm and not x.is_cuda:
                raise RefusedError("torch's SyncBatchNorm is for GPUs")
            self.group = Group(self.process_group)
        elif self.training and x.numel() // x.shape[1] < 2:
            raise RefusedError('there is one value per channel')

    def read(self, norm: nn.Module, channels: int) -> Norm:
        own = state_of(norm, self.cls, 'the norm')
        momentum, settings = self.settings[2], _settings(own)
        if settings != self.settings:
            momentum = self._check(*settings)
        parameters, buffers = own['_parameters'], own['_buffers']
        weight, bias = parameters['weight'], parameters['bias']
        mean, var, batches = buffers['running_mean'], buffers['running_var'], buffers['num_batches_tracked']
        if weight is None or bias is None or mean is None or var is None or batches is None or len(parameters) != 2:
            raise RefusedError('a norm has no weight, bias or running statistics, or other parameters')
        self.tensors.norm((weight, bias, mean, var), channels)
        if self.training:
            self.tensors.written(mean, var, batches)
        return Norm(weight, bias, mean, var, batches, momentum)

    def _check(self, training: bool, eps: float, momentum: float | None, tracks: bool, process_group) -> float:
        """The momentum of a norm, in which alone it may differ from the first."""
        if momentum is None:
            raise RefusedError('a norm has no momentum: it averages over all steps')
        if type(momentum) not in (float, int) or not tracks:
            raise RefusedError('a norm does not keep running statistics as BatchNorm2d does')
        if bool(training) is not self.training:
            raise RefusedError('some norms are in training and some in evaluation mode')
        if eps != self.eps:
            raise RefusedError('the norms have different eps')
        if process_group is not self.process_group:
            raise RefusedError('the norms are synchronised over different ranks')
        return momentum


def _settings(own: dict) -> tuple:
    return own['training'], own['eps'], own['momentum'], own['track_running_stats'], own.get('process_group')


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
        # between convolution and pooling, which cannot change places then
        drop = state_of(parts['drop'], nn.Dropout, "the transition's dropout")
        if drop['training'] and drop['p'] != 0:
            raise RefusedError('there is dropout in the transition')
    pool = state_of(parts['pool'], nn.AvgPool2d, 'the pooling')
    sizes = [_pair(pool[name]) for name in ('kernel_size', 'stride', 'padding')]
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
    norms = _Norms(first['norm1'], x, tensors)
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
            conv1 = _read_conv(parts['conv1'], (width, channels, 1, 1), tensors)
            norm2 = norms.read(parts['norm2'], width)
            conv2 = _read_conv(parts['conv2'], (growth, width, 3, 3), tensors)
            if 'conv2' in own or 'norm2' in own:
                raise RefusedError('a layer has parts of its own')
        else:
            conv1 = _read_conv(parts['conv1'], (growth, channels, 3, 3), tensors)
            norm2 = conv2 = None
            if (parts.get('conv2') or own.get('conv2') or parts.get('norm2') or own.get('norm2')) is not None:
                raise RefusedError('layers with and without a bottleneck are mixed')
        plan.layers.append(Layer(norm1, conv1, norm2, conv2))
        plan.drop_rates.append(_drop_rate(own, 'drop_rate'))
        plan.inner_drop_rates.append(_drop_rate(own, 'bottleneck_drop_rate') if bottleneck else 0.0)
        channels += growth
    if transition is not None:
        parts = transition._modules
        norm, weight = norms.read(parts['norm'], channels), parts['conv']._parameters['weight']
        conv = _read_conv(parts['conv'], (weight.shape[0], channels, 1, 1), tensors)
        plan.transition = Transition(norm, conv)
    tensors.check()
    plan.contiguous = x.is_contiguous() or not lies_channels_last(x) if contiguous is None else contiguous
    if any(plan.drop_rates) or any(plan.inner_drop_rates):
        _check_order(x, plan)
    plan.graph = tensors.needs_graph(norms.training)
    return plan


def _check_order(x: Tensor, plan: Plan) -> None:
    """Dropout draws in the order in which the reference's maps lie in memory, known where all is in one order."""
    convolutions = [conv for layer in plan.layers for conv in (layer.conv1, layer.conv2) if conv is not None]
    if plan.transition is not None:
        convolutions.append(plan.transition.conv)
    # a 1x1 weight is contiguous in either order; its strides tell them apart, and are what torch looks at
    orders = {conv.stride(3) == 1 for conv in convolutions if conv.shape[1] > 1}
    if len(orders) > 1 or not (x.is_contiguous() or x.is_contiguous(memory_format=torch.channels_last)):
        raise RefusedError('dropout draws in the order in memory, and features and weights are in different ones')
    plan.layers_contiguous = plan.contiguous and False not in orders


#: kernel and stride: groups, padding mode, stride, dilation and padding
_PLAIN_CONVS = {
    (kernel, stride): (1, 'zeros', (stride, stride), (1, 1), (kernel // 2, kernel // 2))
    for kernel, stride in ((1, 1), (3, 1), (7, 2))
}


def _read_conv(conv: nn.Module, shape: tuple[int, int, int, int], tensors: Tensors, stride: int = 1) -> Tensor:
    own = state_of(conv, nn.Conv2d, 'a convolution')
    parameters, kernel = own['_parameters'], shape[3]
    settings = own['groups'], own['padding_mode'], own['stride'], own['dilation'], own['padding']
    if parameters['bias'] is not None or settings != _PLAIN_CONVS[kernel, stride] or type(own['groups']) is not int:
        raise RefusedError(f'a convolution is not a plain {kernel}x{kernel} Conv2d without bias')
    return tensors.weight(parameters['weight'], shape)


def lies_channels_last(x: Tensor) -> bool:
    """Whether torch takes the memory of maps or of a weight, (N, C, H, W), as being in channels-last order."""
    if x.stride(1) == 0:
        return False
    least = 0
    for i in (1, 3, 2, 0):
        size, stride = x.shape[i], x.stride(i)
        if size == 0 or stride < least or (i == 0 and least == x.stride(1)):
            return False
        least = stride * max(size, 1)
    return True


def _drop_rate(own: dict, name: str) -> float:
    rate = own[name]
    if type(rate) is not float or not 0 <= rate < 1:
        raise RefusedError('a rate of dropout is no float from 0 to below 1')
    return rate if own['training'] else 0.0


def _stem_parts(stem: nn.Module) -> list[nn.Module]:
    parts = list(stem._modules.values())
    if len(parts) != 4 or tuple(stem._modules) != ('0', '1', '2', '3'):
        raise RefusedError('the stem has other parts')
    state_of(stem, nn.Sequential, 'the stem')
    state_of(parts[2], nn.ReLU, 'the activation')
    pool = state_of(parts[3], nn.MaxPool2d, 'the pooling')
    sizes = [_pair(pool[name]) for name in ('kernel_size', 'stride', 'padding', 'dilation')]
    if sizes != [(3, 3), (2, 2), (1, 1), (1, 1)] or pool['ceil_mode'] or pool['return_indices']:
        raise RefusedError('the pooling is not 3x3 with stride 2')
    return parts


def _read_stem(x: Tensor, stem: nn.Module, images: bool) -> StemPlan:
    tensors = Tensors(x, check_modes(x))
    conv, norm, *_ = _stem_parts(stem)
    weight = None
    if images:
        shape = conv._parameters['weight'].shape
        weight = _read_conv(conv, (shape[0], x.shape[1], 7, 7), tensors, stride=2)
    norms = _Norms(norm, x, tensors)
    read = norms.read(norm, weight.shape[0] if images else x.shape[1])
    tensors.check()
    if images and weight.dtype is not x.dtype:
        raise RefusedError('the convolution is computed under autocast')
    graph = tensors.needs_graph(norms.training)
    if images and (norms.training or graph):
        raise RefusedError('the whole stem is for evaluation without gradients')
    return StemPlan(None, read, weight, norms.training, graph, norms.eps, norms.group)


def _pair(value: int | Sequence[int]) -> tuple[int, ...]:
    return (value, value) if isinstance(value, int) else tuple(value)
