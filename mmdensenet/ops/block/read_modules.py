"""What a module of a block or stem gives to compute with: its tensors and settings, checked by :mod:`.contract`."""

from collections.abc import Sequence

import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..norms import Group, Norm
from .contract import RefusedError, Tensors, is_known, state_of


class NormReader:
    """Reads the norms of one block or stem, which must agree with the first in class, mode, eps and process group."""

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
        """Refuse settings that differ from the first norm's; return the momentum, which may differ."""
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


#: (kernel, stride) to groups, padding mode, stride, dilation and padding
_PLAIN_CONVS = {
    (kernel, stride): (1, 'zeros', (stride, stride), (1, 1), (kernel // 2, kernel // 2))
    for kernel, stride in ((1, 1), (3, 1), (7, 2))
}


def read_conv(conv: nn.Module, shape: tuple[int, int, int, int], tensors: Tensors, stride: int = 1) -> Tensor:
    """The weight of a plain convolution without bias, which has to have this shape."""
    own = state_of(conv, nn.Conv2d, 'a convolution')
    parameters, kernel = own['_parameters'], shape[3]
    settings = own['groups'], own['padding_mode'], own['stride'], own['dilation'], own['padding']
    if parameters['bias'] is not None or settings != _PLAIN_CONVS[kernel, stride] or type(own['groups']) is not int:
        raise RefusedError(f'a convolution is not a plain {kernel}x{kernel} Conv2d without bias')
    return tensors.weight(parameters['weight'], shape)


def drop_rate_of(own: dict, name: str) -> float:
    """A rate of dropout of a layer, 0 in evaluation; ``own`` is the layer's ``__dict__``."""
    rate = own[name]
    if type(rate) is not float or not 0 <= rate < 1:
        raise RefusedError('a rate of dropout is no float from 0 to below 1')
    return rate if own['training'] else 0.0


def as_pair(value: int | Sequence[int]) -> tuple[int, ...]:
    return (value, value) if isinstance(value, int) else tuple(value)
