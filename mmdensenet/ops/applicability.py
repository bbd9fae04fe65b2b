"""Where the fused block applies: one visible place, and a reason where it does not."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules import module as torch_module
from torch.nn.modules.batchnorm import _BatchNorm

from .reference import DenseLayerModules


def is_exporting() -> bool:
    """Whether the model is being traced or exported, which only the reference's modules can be."""
    exporting = getattr(torch.compiler, 'is_exporting', lambda: False)  # since torch 2.7
    return torch.jit.is_tracing() or torch.jit.is_scripting() or exporting()


@torch.compiler.disable
def why_not_fused(x: Tensor, layers: Sequence[DenseLayerModules]) -> str | None:
    """The reason for which these layers cannot be computed by :func:`fused_dense_block`, or None if they can."""
    if is_exporting():
        return 'the model is traced or exported'
    if _inside_transform():
        return 'torch.func transforms cannot see into it'
    dtype = compute_dtype(x)
    if not dtype.is_floating_point:
        return f'the features are {str(x.dtype).removeprefix("torch.")}'
    autocast = x.dtype != torch.float64 and _autocast_enabled(x.device.type)
    if _has_global_hooks():
        return _HOOKS
    first = layers[0].norm1
    for layer in layers:
        if reason := _why_not_layer(layer, first, None if autocast else dtype):
            return reason
    if first.training and not synchronised(first) and x.shape[0] * x.shape[2] * x.shape[3] < 2:
        return 'there is one value per channel'
    return None


@torch.compiler.disable
def transition_is_fusable(x: Tensor, layers: Sequence[DenseLayerModules], transition: nn.Module) -> bool:
    """Whether the transition can read the block's buffer, given that :func:`why_not_fused` says None of the layers."""
    parts = [getattr(transition, name, None) for name in ('norm', 'act', 'conv', 'pool')]
    drop = getattr(transition, 'drop', None)  # between convolution and pooling, which cannot change places then
    dropping = type(drop) is nn.Dropout and drop.training and drop.p > 0
    others = [child for child in transition.children() if type(child) is not nn.Dropout or child is not drop]
    if None in parts or len(others) != len(parts) or dropping or min(x.shape[2:]) < 2:
        return False
    norm, act, conv, pool = parts
    plain_pool = (
        type(pool) is nn.AvgPool2d
        and [_pair(value) for value in (pool.kernel_size, pool.stride, pool.padding)] == [(2, 2), (2, 2), (0, 0)]
        and not pool.ceil_mode
        and not pool.divisor_override
    )
    return (
        plain_pool
        and _why_not_norm(norm, layers[0].norm1) is None
        and type(act) is nn.ReLU
        and _is_plain_convolution(conv, 1)
        and not any(has_hooks(module) for module in (transition, *transition.children()))
    )


@torch.compiler.disable
def stem_is_fusable(x: Tensor, stem: nn.Module) -> bool:
    """Whether what follows the stem's convolution, whose result is x, is :func:`fused_stem`."""
    if is_exporting() or _inside_transform() or not x.dtype.is_floating_point or not _is_stem(stem):
        return False
    _, norm, act, pool = stem.children()
    return (
        _why_not_norm(norm, norm) is None
        and (not norm.training or synchronised(norm) or x.numel() // x.shape[1] > 1)
        and not any(has_hooks(module) for module in (stem, norm, act, pool))
        and not _has_global_hooks()
    )


@torch.compiler.disable
def stem_is_evaluable(x: Tensor, stem: nn.Module) -> bool:
    """Whether the images x can go through the whole stem at once: no gradients, and the ImageNet stem's convolution."""
    if not stem_is_fusable(x, stem):
        return False
    conv, norm = stem[0], stem[1]
    return (
        not norm.training
        and not (torch.is_grad_enabled() and differentiable(x, [stem]))
        and _is_plain_convolution(conv, 7, stride=2)
        and x.dtype == conv.weight.dtype == compute_dtype(x)
        and x.dim() == 4
        and x.shape[1] == conv.in_channels
        and x.numel() > 0
        and not has_hooks(conv)
    )


def compute_dtype(x: Tensor) -> torch.dtype:
    """The type in which the block's features are kept: autocast's where it is enabled, else the input's."""
    device = x.device.type
    if x.dtype != torch.float64 and _autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return x.dtype


def without_autocast(device: torch.device) -> AbstractContextManager:
    """Autocast off for this kind of device; nothing on one that has none, such as 'meta', which has shapes only."""
    available = torch.amp.is_autocast_available(device.type)
    return torch.autocast(device.type, enabled=False) if available else nullcontext()


def _autocast_enabled(device: str) -> bool:
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)


def differentiable(x: Tensor, modules: Sequence[nn.Module]) -> bool:
    return x.requires_grad or any(p.requires_grad for module in modules for p in module.parameters())


def synchronised(norm: nn.Module) -> bool:
    """Whether this norm, in training, takes its statistics from all ranks."""
    return 'process_group' in vars(norm) and dist.is_available() and dist.is_initialized()


def has_hooks(module: nn.Module) -> bool:
    return bool(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    )


# A network of 58 layers asks these questions before each step; nn.Module's getattr is slow, above all for what is not
# there, so each submodule is asked for once and plain attributes are looked up with vars.


def _why_not_layer(layer: DenseLayerModules, first: nn.Module, dtype: torch.dtype | None) -> str | None:
    """``first`` is the block's first norm; ``dtype`` the weights' necessary type, None where autocast casts them."""
    act, norm1, conv1, conv2 = layer.act, layer.norm1, layer.conv1, layer.conv2
    if type(act) is not nn.ReLU:
        return f'the activation is {type(act).__name__}, not ReLU'
    if conv2 is None:
        convolutions, norms = ((conv1, 3),), (norm1,)
    else:
        convolutions, norms = ((conv1, 1), (conv2, 3)), (norm1, layer.norm2)
    for conv, kernel in convolutions:
        if not _is_plain_convolution(conv, kernel):
            return f'a convolution is {type(conv).__name__}, not a plain {kernel}x{kernel} Conv2d without bias'
        if dtype is not None and conv.weight.dtype != dtype:
            return 'weights and features are of different types'
        if has_hooks(conv):
            return _HOOKS
    for norm in norms:
        if reason := _why_not_norm(norm, first):
            return reason
        if has_hooks(norm):
            return _HOOKS
    return _HOOKS if has_hooks(layer) or has_hooks(act) else None


_HOOKS = 'there are hooks on inner modules'


def _why_not_norm(norm: nn.Module, first: nn.Module) -> str | None:
    own = vars(norm)
    plain = type(norm) is nn.BatchNorm2d or (isinstance(norm, _BatchNorm) and 'process_group' in own)
    if plain and norm.momentum is None:
        return 'a norm has no momentum: it averages over all steps'
    if not plain or not (norm.affine and norm.track_running_stats):
        return f'the norm is {type(norm).__name__}, not a BatchNorm2d or SyncBN with running statistics'
    if norm.training != first.training:
        return 'some norms are in training and some in evaluation mode'
    if norm.eps != first.eps:
        return 'the norms have different eps'
    if type(norm) is not type(first) or own.get('process_group') is not vars(first).get('process_group'):
        return 'the norms are synchronised over different ranks'
    return None


def _is_plain_convolution(conv: nn.Module, kernel: int, stride: int = 1) -> bool:
    return (
        type(conv) is nn.Conv2d
        and conv.bias is None
        and conv.groups == 1
        and conv.padding_mode == 'zeros'
        and (conv.kernel_size, conv.stride, conv.dilation) == ((kernel, kernel), (stride, stride), (1, 1))
        and conv.padding == (kernel // 2, kernel // 2)
    )


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


def _inside_transform() -> bool:
    active = getattr(torch._C, '_are_functorch_transforms_active', None)
    return active is not None and active()


def _has_global_hooks() -> bool:
    return bool(torch_module._global_forward_hooks or torch_module._global_forward_pre_hooks)


def _is_stem(stem: nn.Module) -> bool:
    """Convolution, norm, ReLU, 3x3 max pooling with stride 2 and padding 1."""
    parts = list(stem.children())
    if len(parts) != 4 or type(parts[2]) is not nn.ReLU or type(parts[3]) is not nn.MaxPool2d:
        return False
    pool = parts[3]
    sizes = [v if isinstance(v, int) else v[0] for v in (pool.kernel_size, pool.stride, pool.padding, pool.dilation)]
    return sizes == [3, 2, 1, 1] and not pool.ceil_mode and not pool.return_indices
