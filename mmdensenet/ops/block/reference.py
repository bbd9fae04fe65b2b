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
    everything up to the first convolution in backward (arXiv:1707.06990) and updates the running statistics once.
    """

    def first_convolution(*features: Tensor) -> Tensor:
        return layer.conv1(layer.act(layer.norm1(torch.cat(features, 1))))

    if layer.memory_efficient and torch.is_grad_enabled() and any(f.requires_grad for f in features):
        out = checkpoint(
            first_convolution,
            *features,
            use_reentrant=False,
            context_fn=lambda: (nullcontext(), statistics_unchanged(layer.norm1)),
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


class statistics_unchanged:  # noqa: N801  a context; contextlib's serve once, and a second backward recomputes again
    """Let a norm normalise as usual without changing its running statistics and ``num_batches_tracked``.

    A recomputation sees the same batch again and must not count it twice. The context swaps the buffers for copies:
    switching ``track_running_stats`` off would change what autograd saves.
    """

    def __init__(self, norm: nn.Module):
        self.norm = norm

    def __enter__(self) -> None:
        self.buffers: dict[str, Tensor | None] = {}
        if isinstance(self.norm, _BatchNorm) and self.norm.training:
            self.buffers = dict(self.norm._buffers)
            self.norm._buffers.update({name: b.clone() for name, b in self.buffers.items() if b is not None})

    def __exit__(self, *_) -> None:
        self.norm._buffers.update(self.buffers)
