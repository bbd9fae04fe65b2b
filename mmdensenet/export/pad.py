"""Channels in multiples of eight, with zeros, for runtimes that only then keep their blocked layout."""

import torch
from torch import Tensor, nn

from .fold import FoldedDenseNet, NormReLU


def pad_channels(net: FoldedDenseNet, multiple: int = 8) -> FoldedDenseNet:
    """Pad what each convolution adds to the concatenation to a multiple of channels, in place: the same function.

    ONNX Runtime converts between layouts around every concatenation whose parts are not multiples of eight channels,
    as with growth rate 12. The added channels are 0 and have zero weights wherever they are read. The last norm gives
    the original channels, in order, so that a head fits.
    """
    net.stem = _more_outputs(net.stem, multiple)
    places = torch.arange(net.stem.given_channels)
    total = net.stem.out_channels
    for i, block in enumerate(net.blocks):
        for layer in block:
            layer.norm, layer.conv1 = _spread_norm(layer.norm, places, total), _spread(layer.conv1, places, total)
            last = 'conv1' if layer.conv2 is None else 'conv2'
            setattr(layer, last, _more_outputs(getattr(layer, last), multiple))
            new = getattr(layer, last)
            places = torch.cat((places, total + torch.arange(new.given_channels)))
            total += new.out_channels
        if i < len(net.transitions):
            transition = net.transitions[i]
            transition.norm = _spread_norm(transition.norm, places, total)
            transition.conv = _more_outputs(_spread(transition.conv, places, total), multiple)
            places, total = torch.arange(transition.conv.given_channels), transition.conv.out_channels
    net.norm = _spread_norm(net.norm, places, total)
    net.places = places if total > len(places) else None
    return net


def _more_outputs(conv: nn.Conv2d, multiple: int) -> nn.Conv2d:
    """``given_channels`` of the result is the number of output channels before."""
    given = conv.out_channels
    total = -(-given // multiple) * multiple
    places = torch.arange(given)
    weight, bias = (None if t is None else _zeros_but(t, places, total, 0) for t in (conv.weight, conv.bias))
    made = _like(conv, weight, bias)
    made.given_channels = given
    return made


def _spread(conv: nn.Conv2d, places: Tensor, total: int) -> nn.Conv2d:
    """Read the channels at ``places`` of ``total``."""
    return _like(conv, _zeros_but(conv.weight, places, total, 1), conv.bias)


def _spread_norm(norm: NormReLU, places: Tensor, total: int) -> NormReLU:
    norm.scale, norm.shift = (_zeros_but(t, places, total, 0) for t in (norm.scale, norm.shift))
    norm.mean, norm.variance = torch.zeros_like(norm.scale), torch.ones_like(norm.scale)
    return norm


def _like(conv: nn.Conv2d, weight: Tensor, bias: Tensor | None) -> nn.Conv2d:
    out, into = weight.shape[:2]
    made = nn.Conv2d(into, out, conv.kernel_size, conv.stride, conv.padding, bias=bias is not None)
    made.weight.data = weight
    if bias is not None:
        made.bias.data = bias.data
    return made.to(weight.dtype).requires_grad_(False)


def _zeros_but(values: Tensor, places: Tensor, total: int, axis: int) -> Tensor:
    shape = list(values.shape)
    shape[axis] = total
    return values.new_zeros(shape).index_copy_(axis, places.to(values.device), values.detach())
