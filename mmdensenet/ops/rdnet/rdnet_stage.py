"""RDNet's stage (arXiv:2403.19588): dense blocks of a depthwise 7x7 convolution, layer norm and two 1x1 convolutions.

``z_j = mask * gamma * eSE(W2 gelu(W1 LN(dw7x7([x, z_1, ..., z_{j-1}]))))``: each block reads the C_j channels before it
and adds g. :func:`rdnet_stage` is that formula with concatenations. The functions below it compute a block on the C_j
channels as one tensor, which is what :mod:`.buffered_stage` does; they read modules and what stands in for them.
"""

import functools
from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn


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
        features.append(block(features[:], mask))  # a list of its own: what computes a block again reads it later
    return torch.cat(features, 1)


def block_channels(x: Tensor, block: RDNetBlockModules, mask: Tensor | None) -> Tensor:
    """(N, C, H, W) to (N, g, H, W)."""
    return scale(project(hidden_channels(x, block), block), block, mask)


def hidden_channels(x: Tensor, block: RDNetBlockModules) -> Tensor:
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


def project(hidden: Tensor, block: RDNetBlockModules) -> Tensor:
    """The second 1x1 convolution: (N, 4C, H, W) to (N, g, H, W)."""
    return _convolution(hidden, block.pwconv2)


def _convolution(x: Tensor, conv: nn.Module) -> Tensor:
    return F.conv2d(x, conv.weight, conv.bias, padding=conv.padding, groups=conv.groups)


def scale(y: Tensor, block: RDNetBlockModules, mask: Tensor | None, parts: list | None = None) -> Tensor:
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


def fill_buffer(x: Tensor, blocks, masks, compute) -> Tensor:
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
