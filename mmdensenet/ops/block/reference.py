"""The reference dense block: concatenate, normalise, activate, convolve, as the paper writes it.

``x_l = H_l([x_0, x_1, ..., x_{l-1}])`` (arXiv:1608.06993, equation 2). It supports any norm, any activation, hooks and
tracing, and copies all earlier features once per layer. Faster blocks have the signature of :func:`dense_block` and are
tested against it.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from .contract import is_exporting


class DenseLayerModules(Protocol):
    """The modules and settings of a layer. ``norm2`` and ``conv2`` are None without a bottleneck."""

    norm1: nn.Module
    act: nn.Module
    conv1: nn.Module
    norm2: nn.Module | None
    conv2: nn.Module | None
    drop_rate: float
    bottleneck_drop_rate: float
    memory_efficient: bool
    training: bool

    def __call__(self, features: Sequence[Tensor]) -> Tensor: ...


class TransitionModules(Protocol):
    """The modules of a transition, in the order in which it applies them."""

    norm: nn.Module
    act: nn.Module
    conv: nn.Module
    pool: nn.Module
    training: bool

    def __call__(self, x: Tensor) -> Tensor: ...


def dense_block(x: Tensor, layers: Sequence[DenseLayerModules]) -> Tensor:
    """Apply the layers of one block.

    Args:
        x: the block's input, (N, C0, H, W).
        layers: L layers of growth rate k; layer l reads C0 + l * k channels. Each is called, so that its hooks run.

    Returns:
        All features, (N, C0 + L * k, H, W): the input first, then each layer's k channels.
    """
    features = [x]
    for layer in layers:
        features.append(layer(features[:]))  # a list of its own: what computes a layer again reads it later
    return torch.cat(features, 1)


def dense_layer(features: Sequence[Tensor], layer: DenseLayerModules) -> Tensor:
    """Return one layer's k new channels, (N, k, H, W), from all earlier features, each (N, C_i, H, W).

    With a bottleneck BN-ReLU-Conv(1x1)-BN-ReLU-Conv(3x3), without one BN-ReLU-Conv(3x3) (section 3 of the paper);
    dropout is last, with ``bottleneck_drop_rate`` also after the 1x1 convolution. ``memory_efficient`` recomputes
    everything up to the first convolution in backward (arXiv:1707.06990) and updates the running statistics once. It
    has no effect in what is compiled or traced and in torch.func's transforms, which refuse hooks of saved tensors.

    Raises:
        RuntimeError: in backward, where a weight that ``memory_efficient`` needs again has been changed in place.
    """
    norm, act, conv = layer.norm1, layer.act, layer.conv1

    def first_convolution(*features: Tensor) -> Tensor:
        return conv(act(norm(torch.cat(features, 1))))

    if layer.memory_efficient and _can_recompute(features):
        out = checkpoint(
            first_convolution,
            *features,
            use_reentrant=False,
            context_fn=lambda: (nullcontext(), as_in_forward(norm, act, conv)),
        )
    else:
        out = first_convolution(*features)
    if layer.conv2 is not None:
        if layer.bottleneck_drop_rate > 0:
            out = F.dropout(out, p=layer.bottleneck_drop_rate, training=layer.training)
        out = layer.conv2(layer.act(layer.norm2(out)))
    if layer.drop_rate > 0:
        out = F.dropout(out, p=layer.drop_rate, training=layer.training)
    return out


def _can_recompute(features: Sequence[Tensor]) -> bool:
    """Whether there is a graph, with hooks of saved tensors."""
    if not torch.is_grad_enabled() or is_exporting() or torch._C._are_functorch_transforms_active():
        return False
    proxies = torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.PROXY)  # of make_fx and AOTAutograd
    return proxies is None and any(isinstance(f, Tensor) and f.requires_grad for f in features)


class as_in_forward:  # noqa: N801  a context; contextlib's serve once, and a second backward recomputes again
    """Let modules compute again what they compute where this is made, whatever they have become since.

    A recomputation sees the same batch again and must not count it twice: batch norms have copies of their buffers
    meanwhile. Switching ``track_running_stats`` off would change what autograd saves. Parameters may be others by then,
    as after ``torch.func.functional_call``, and so may the mode.
    """

    def __init__(self, *modules: nn.Module):
        self.modules = {}
        for part in (part for module in modules for part in module.modules()):
            if isinstance(part, torch.jit.ScriptModule):  # which has its contents in C++
                continue
            buffers = dict(part._buffers)
            if isinstance(part, _BatchNorm):
                buffers = {name: None if buffer is None else buffer.clone() for name, buffer in buffers.items()}
            self.modules[part] = dict(training=part.training, _parameters=dict(part._parameters), _buffers=buffers)
        parameters = [p for state in self.modules.values() for p in state['_parameters'].values()]
        # tensors of inference mode have no version
        self.versions = [(p, p._version) for p in parameters if p is not None and not p.is_inference()]

    def __enter__(self) -> None:
        if any(parameter._version != version for parameter, version in self.versions):
            raise RuntimeError(
                'a weight of a dense layer has been changed in place between forward and backward, and '
                'memory_efficient=True computes with it again'
            )
        self.since = [(part, {name: part.__dict__[name] for name in state}) for part, state in self.modules.items()]
        for part, state in self.modules.items():
            part.__dict__.update(state)

    def __exit__(self, *_) -> None:
        for part, state in self.since:
            part.__dict__.update(state)
