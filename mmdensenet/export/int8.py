"""A folded DenseNet in 8-bit integers, static and calibrated.

Plain post-training quantisation of a DenseNet is slow, because every layer has a norm over the whole concatenation,
which remains float between two conversions. Here the concatenation itself has 8 bits, and nothing between two
convolutions is float:

- Every stored channel has its own scale and offset, ``q = x / scale + offset`` in 0..255. They are folded into the
  weights of the operators that write and read it, so neither the runtime nor the file needs them.
- A norm with its ReLU, read by one layer, is one requantisation per channel: ``relu(a * x + b)`` as 0..255 of *its*
  largest value is ``clip(m * q + n, 0, 255)`` with constants m and n, for gamma of either sign; the clip at 0 is the
  ReLU.
- If the reader does not pad with zeros, and the runtime has the operators, only the ReLU remains, on the stored
  levels: ``max(q, t)`` with the level t that stands for 0, or ``min(q, t)`` if ``a`` is negative. The rest of the norm
  is linear and folds into the reader's weights and bias.
- So for the runtime all activations are plain levels 0..255 with scale 1 and zero point 0. Weights are signed, with one
  scale per output channel.

Weights are limited to +-64: CPUs without VNNI add two products of a byte and a signed byte in 16 bits, in which
255 * 64 * 2 just fits and 255 * 127 * 2 does not.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from .fold import FoldedDenseNet, FoldedLayer, NormReLU

LEVELS = 255
#: the weights of BlurPool, times 16
BINOMIAL = np.outer([1, 2, 1], [1, 2, 1])
WEIGHT_LEVELS = 64
#: the smallest width of a range, so that a constant channel has a scale
SMALLEST = 1e-5
#: how many times coarser a norm's factors may make the weights of a convolution
COARSER = 4.0


@dataclass
class Range:
    """The smallest and the largest value of each channel, float64."""

    low: np.ndarray
    high: np.ndarray
    #: sums over images and pixels, per channel, and how many they are of: of what the convolution reads, or of a norm
    #: with its ReLU of 1 where the result is 0
    total: np.ndarray | float = 0.0
    count: int = 0

    @property
    def mean(self) -> np.ndarray:
        """The mean of each channel that the convolution reads; of a norm, the share of its values that are 0."""
        return self.total / self.count

    def add_input(self, values: Tensor) -> None:
        self.total = self.total + values.detach().double().sum((0, 2, 3)).numpy()
        self.count += values.shape[0] * values.shape[2] * values.shape[3]

    def update(self, values: Tensor) -> None:
        """Widen the range by a batch (N, C, H, W)."""
        values = values.detach().transpose(0, 1).flatten(1).double()
        self.low = np.minimum(self.low, values.min(1).values.numpy())
        self.high = np.maximum(self.high, values.max(1).values.numpy())


def calibrate(net: FoldedDenseNet, batches: Iterable[Tensor]) -> dict[nn.Module | str, Range]:
    """The ranges of the outputs of each convolution and norm of ``net``, over normalised batches (N, C, H, W).

    The entry 'input' has the ranges of the batches themselves.

    Raises:
        ValueError: if there is no batch, or a value is not finite.
    """
    ranges: dict[nn.Module | str, Range] = {}

    def record(key: nn.Module | str, values: Tensor) -> None:
        channels = values.shape[1]
        ranges.setdefault(key, Range(np.full(channels, np.inf), np.full(channels, -np.inf))).update(values)

    def record_both(conv: nn.Module, inputs: tuple[Tensor], out: Tensor) -> None:
        record(conv, out)
        ranges[conv].add_input(inputs[0])

    def record_zeros(norm: nn.Module, inputs: tuple[Tensor], out: Tensor) -> None:
        record(norm, out)
        ranges[norm].add_input(out == 0)

    def record_input(net: nn.Module, inputs: tuple[Tensor], out: object) -> None:
        record('input', inputs[0])

    run_with_hooks(net, {FoldedDenseNet: record_input, nn.Conv2d: record_both, NormReLU: record_zeros}, batches)
    require_finite(ranges.values())
    return ranges


def run_with_hooks(net: nn.Module, hooks: dict[type, Callable], batches: Iterable[Tensor]) -> None:
    """Call ``net`` on each batch, with forward hooks on its modules of these types."""
    modules = list(net.modules())
    handles = [m.register_forward_hook(hook) for kind, hook in hooks.items() for m in modules if isinstance(m, kind)]
    try:
        with torch.no_grad():
            for batch in batches:
                net(batch)
    finally:
        for handle in handles:
            handle.remove()


def require_finite(ranges: Collection[Range]) -> None:
    if not ranges:
        raise ValueError('there is no image to calibrate with')
    if not all(np.isfinite(r.low).all() and np.isfinite(r.high).all() for r in ranges):
        raise ValueError('an activation is not finite')


class Writer(Protocol):
    """Writes the graph in a runtime's format. It represents activations, levels 0..255, by handles of its own."""

    def quantise(self, x: Any, scale: float, zero: int) -> Any:
        """The levels ``x / scale + zero`` of a float tensor."""

    def convolution(self, x: Any, weight: 'Weight', bias: np.ndarray, stride: int, padding: int) -> Any:
        """clip(round(weight * x + bias), 0, 255)."""

    def requantise(self, x: Any, factor: np.ndarray, shift: np.ndarray) -> Any:
        """clip(round(factor * x + shift), 0, 255) per channel."""

    #: whether the writer has :meth:`clamp`
    clamps: bool

    def clamp(self, x: Any, low: np.ndarray, high: np.ndarray) -> Any:
        """min(max(x, low), high) of levels, per channel."""

    def float_relu(self, x: Any, factor: np.ndarray, shift: np.ndarray) -> Any:
        """relu(factor * x + shift) per channel, in float."""

    def concat(self, x: Any, y: Any) -> Any:
        """Concatenate along the channels."""

    def max_pool(self, x: Any, stride: int) -> Any:
        """3x3, padding 1."""

    def blur_pool(self, x: Any, channels: int) -> Any:
        """round(BlurPool), see :class:`mmdensenet.models.BlurPool`."""

    def average_pool(self, x: Any, channels: int) -> Any:
        """round(mean) of 2x2, stride 2."""


@dataclass
class Weight:
    """Integers (O, I, h, w) and the scale of each output channel; ``zero`` is the zero point of the input."""

    levels: np.ndarray
    scale: np.ndarray
    zero: int = 0

    @classmethod
    def of(cls, weight: np.ndarray, bias: np.ndarray, zero: int = 0) -> 'Weight':
        """The nearest integers. For weights tiny beside the bias the scale grows until the bias fits into 32 bits."""
        largest = np.abs(weight).reshape(len(weight), -1).max(1) / WEIGHT_LEVELS
        scale = np.maximum(np.maximum(largest, np.abs(bias) / 2**30), 1e-30)
        return cls(np.rint(weight / scale[:, None, None, None]).astype(np.int8), scale, zero)


@dataclass
class Stored:
    """A tensor of levels with the scale and offset of each channel: ``x = (q - offset) * scale``."""

    levels: Any
    scale: np.ndarray
    offset: np.ndarray


class Int8Graph:
    """Writes a folded network in integers.

    Args:
        net: the folded backbone.
        ranges: of :func:`calibrate`.
        writer: of the format.
    """

    def __init__(self, net: FoldedDenseNet, ranges: dict, writer: Writer):
        self.net, self.ranges, self.writer = net, ranges, writer

    def features(self, x: Any) -> Any:
        """The features after the last norm and ReLU, in float, for normalised images in float."""
        net, writer = self.net, self.writer
        scale, zero = scale_and_zero(self.ranges['input'].low.min(), self.ranges['input'].high.max())
        channels = net.in_channels
        x = Stored(writer.quantise(x, scale, zero), np.full(channels, scale), np.full(channels, float(zero)))
        for conv in (*net.deep, net.stem):
            x = self._convolution(x, conv, relu=net.pool is not None, zero=zero)
            zero = 0
        if net.pool is not None:
            x.levels = writer.max_pool(x.levels, net.pool.stride)
        if net.blur is not None:
            x.levels = writer.blur_pool(x.levels, len(x.scale))
        for i, block in enumerate(net.blocks):
            for layer in block:
                new = self._layer(x, layer)
                scale, offset = np.concatenate([x.scale, new.scale]), np.concatenate([x.offset, new.offset])
                x = Stored(writer.concat(x.levels, new.levels), scale, offset)
            if i < len(net.transitions):
                transition = net.transitions[i]
                y = self._norm_relu(x, transition.norm, transition.conv)
                y.levels = writer.average_pool(y.levels, len(y.scale))
                x = self._convolution(y, transition.conv)
        factor, shift = _affine_of_levels(x, net.norm)
        return writer.float_relu(x.levels, factor, shift)

    def _layer(self, x: Stored, layer: FoldedLayer) -> Stored:
        y = self._norm_relu(x, layer.norm, layer.conv1)
        if layer.conv2 is None:
            return self._convolution(y, layer.conv1)
        return self._convolution(self._convolution(y, layer.conv1, relu=True), layer.conv2)

    def _norm_relu(self, x: Stored, norm: NormReLU, reader: nn.Conv2d) -> Stored:
        factor, shift = _affine_of_levels(x, norm)
        top = np.maximum(np.maximum(shift, factor * LEVELS + shift), SMALLEST)
        if self.writer.clamps and reader.padding[0] == 0:
            low, high, scale, offset = clamped(factor, shift, zeros=self.ranges[norm].mean)
            # a channel that is almost always 0 has few levels and a large weight, beside which others round to 0
            weight = np.abs(reader.weight.detach().double().numpy()[:, :, 0, 0])
            coarser = (weight * np.abs(scale)).max(1) / np.maximum((weight * top / LEVELS).max(1), 1e-30)
            if np.median(coarser) <= COARSER:
                return Stored(self.writer.clamp(x.levels, low, high), scale, offset)
        levels = self.writer.requantise(x.levels, factor * LEVELS / top, shift * LEVELS / top)
        return Stored(levels, top / LEVELS, np.zeros_like(top))

    def _convolution(self, x: Stored, conv: nn.Conv2d, relu: bool = False, zero: int = 0) -> Stored:
        given = self.ranges[conv]
        low = np.zeros_like(given.low) if relu else given.low
        scale = np.maximum(given.high - low, SMALLEST * (1 + np.abs(low))) / LEVELS
        offset = -low / scale
        weight = conv.weight.detach().double().numpy() * x.scale[:, None, None] / scale[:, None, None, None]
        bias = np.zeros_like(scale) if conv.bias is None else conv.bias.detach().double().numpy()
        bias = bias / scale + offset - (weight.sum((2, 3)) @ (x.offset - zero))
        integers = Weight.of(weight, bias, zero)
        # subtract the mean error of the rounded weights, which would add up over the layers
        rounded = integers.levels * integers.scale[:, None, None, None]
        mean = np.divide(given.mean, x.scale, out=np.zeros_like(x.scale), where=x.scale != 0) + x.offset - zero
        bias = bias + (weight - rounded).sum((2, 3)) @ mean
        written = self.writer.convolution(x.levels, integers, bias, conv.stride[0], conv.padding[0])
        return Stored(written, scale, offset)


def scale_and_zero(low: float, high: float) -> tuple[float, int]:
    """Scale and zero point of unsigned bytes for a range, extended to contain zero, with which convolutions pad."""
    low, high = min(low, 0.0), max(high, SMALLEST)
    scale = (high - low) / LEVELS
    return scale, int(np.clip(np.rint(-low / scale), 0, LEVELS))


def _affine_of_levels(x: Stored, norm: NormReLU) -> tuple[np.ndarray, np.ndarray]:
    """m and n of ``norm(x) = m * q + n``."""
    scale, shift = norm.scale.double().numpy(), norm.shift.double().numpy()
    return scale * x.scale, shift - scale * x.scale * x.offset


def clamped(factor: np.ndarray, shift: np.ndarray, zeros: np.ndarray) -> tuple[np.ndarray, ...]:
    """low, high, scale and offset of ``relu(factor * q + shift)`` as ``scale * (min(max(q, low), high) - offset)``.

    Args:
        zeros: the share of values that are 0, per channel.
    """
    smallest = SMALLEST / LEVELS
    factor = np.where(np.abs(factor) < smallest, np.where(factor < 0, -smallest, smallest), factor)
    zero = -shift / factor
    level = np.rint(np.clip(zero, 0, LEVELS))
    low, high = np.where(factor > 0, level, 0), np.where(factor > 0, LEVELS, level)
    never = low == high  # then it is 0 for every level
    # the level of a result of 0 is rounded; the offset corrects its mean
    return low, high, np.where(never, 0, factor), np.where(never, level, zero + (level - zero) * zeros)
