"""The contract of RDNet's buffered stage: what its blocks have to be, exactly."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..block.contract import RefusedError, Tensors, check_modes, state_of
from .rdnet_stage import RDNetBlockModules


@torch.compiler.disable
def why_not_buffered(x: Tensor, blocks: Sequence[RDNetBlockModules]) -> str | None:
    """Return why these blocks cannot be computed by :func:`buffered_rdnet_stage`, or None if they can.

    Args:
        x: the stage's input, (N, C, H, W).
        blocks: of the stage.
    """
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
