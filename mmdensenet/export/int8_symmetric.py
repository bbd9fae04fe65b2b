"""A folded DenseNet as ONNX with symmetric integers, as TensorRT takes them.

TensorRT expects a pair of QuantizeLinear and DequantizeLinear before each convolution, and computes in signed bytes
with zero points of 0: one scale per tensor for activations, one per output channel for weights. So each convolution
here reads such a pair. The operators between two convolutions are ordinary float ones, which TensorRT fuses as it
chooses. The graph of :mod:`.int8` has a scale and an offset for each stored channel, and is fast on CPUs.

One scale per tensor would give few levels to channels with small values. So the norm or convolution that writes a
tensor divides each channel by its largest value, which commutes with ReLU and pooling, and the weights that read the
tensor contain the factor. Weights use all 8 bits: nothing overflows, because ONNX Runtime computes such a file's
convolutions in float, and TensorRT sums in 32 bits.
"""

import numpy as np
import onnx
from torch import nn

from .fold import FoldedLayer, NormReLU, ScoresOf
from .int8 import SMALLEST, Range
from .int8_onnx import OnnxWriter

#: the largest signed byte; -128 is not used, so that the range is symmetric
LEVELS = 127
#: a bias in the unit of its products must be well inside 32 bits
LARGEST_BIAS = 2**30


def int8_symmetric(model: ScoresOf, ranges: dict, batch: int | None, size: tuple[int, int]) -> onnx.ModelProto:
    """A folded classifier with global average pooling and one linear layer; arguments as of :func:`.int8_onnx`."""
    writer = _Writer(ranges)
    return writer.classifier(writer.features(model.backbone), model, batch, size)


class _Writer(OnnxWriter):
    def __init__(self, ranges: dict[nn.Module | str, Range]):
        super().__init__()
        self.constants.clear()  # OnnxWriter's, of another scheme
        self.ranges = ranges

    def features(self, net: nn.Module) -> str:
        """The features after the last norm and ReLU, for normalised images."""
        x, read = 'images', self.ranges['input']
        largest = max(np.abs(read.low).max(), np.abs(read.high).max(), SMALLEST)
        factors = np.full(net.in_channels, largest)
        x = self.node('Div', x, self.constant(np.float32(largest)))
        for conv in net.deep:
            x = self.node('Relu', self.rounded_convolution(x, conv, factors, self.largest(conv)))
            factors = self.largest(conv)
        x = self.rounded_convolution(x, net.stem, factors)
        if net.pool is not None:
            x = self.max_pool(self.node('Relu', x), net.pool.stride)
        if net.blur is not None:
            x = self.blurred(x, net.blur.kernel.numpy(), net.stem.out_channels)
        for i, block in enumerate(net.blocks):
            for layer in block:
                x = self.concat(x, self.layer(x, layer))
            if i < len(net.transitions):
                norm, conv = net.transitions[i].norm, net.transitions[i].conv
                x = self.node('AveragePool', self.norm_relu(x, norm), kernel_shape=[2, 2], strides=[2, 2])
                x = self.rounded_convolution(x, conv, self.largest(norm))
        return self.norm_relu(x, net.norm, divide=False)

    def layer(self, x: str, layer: FoldedLayer) -> str:
        y, factors = self.norm_relu(x, layer.norm), self.largest(layer.norm)
        if layer.conv2 is None:
            return self.rounded_convolution(y, layer.conv1, factors)
        inner = self.largest(layer.conv1)
        return self.rounded_convolution(
            self.node('Relu', self.rounded_convolution(y, layer.conv1, factors, inner)), layer.conv2, inner
        )

    def largest(self, module: nn.Module) -> np.ndarray:
        """The largest value of each channel after a ReLU."""
        return np.maximum(self.ranges[module].high, SMALLEST)

    def norm_relu(self, x: str, norm: NormReLU, divide: bool = True) -> str:
        by = self.largest(norm) if divide else 1.0
        values = (norm.scale.double().numpy() / by, norm.shift.double().numpy() / by)
        scale, shift = (self.constant(v.astype(np.float32).reshape(1, -1, 1, 1)) for v in values)
        return self.node('Relu', self.node('Add', self.node('Mul', x, scale), shift))

    def rounded_convolution(
        self, x: str, conv: nn.Conv2d, factors: np.ndarray, divisors: np.ndarray | float = 1.0
    ) -> str:
        """The convolution of ``x`` times ``factors``, per channel of at most 1, by ``divisors``; ``x`` and weights are
        rounded.
        """
        scale, zero = self.constant(np.float32(1 / LEVELS)), self.constant(np.int8(0))
        x = self.node('DequantizeLinear', self.node('QuantizeLinear', x, scale, zero), scale, zero)
        weight = conv.weight.detach().double().numpy() * factors[:, None, None]
        weight = weight / np.reshape(divisors, (-1, 1, 1, 1))
        bias = np.zeros(len(weight)) if conv.bias is None else conv.bias.detach().double().numpy()
        # ONNX Runtime rounds the bias too, to whole products of the scales in 32 bits: of a channel whose weights are
        # (nearly) 0 beside its bias that would cut the bias off
        largest = np.abs(weight).reshape(len(weight), -1).max(1) / LEVELS
        scales = np.maximum(np.maximum(largest, np.abs(bias / divisors) * LEVELS / LARGEST_BIAS), 1e-30)
        levels = np.rint(weight / scales[:, None, None, None]).astype(np.int8)
        zeros = self.constant(np.zeros(len(scales), np.int8))
        rounded = self.node(
            'DequantizeLinear', self.constant(levels), self.constant(scales.astype(np.float32)), zeros, axis=0
        )
        # what the rounding of the weights changes on average
        change = weight - levels * scales[:, None, None, None]
        bias = bias / divisors + change.sum((2, 3)) @ (self.ranges[conv].mean / factors)
        settings = dict(kernel_shape=list(conv.kernel_size), strides=list(conv.stride), pads=list(conv.padding) * 2)
        return self.node('Conv', x, rounded, self.constant(bias.astype(np.float32)), **settings)

    def blurred(self, x: str, kernel: np.ndarray, channels: int) -> str:
        padded = self.node('Pad', x, self.constant(np.array([0, 0, 1, 1, 0, 0, 1, 1])), mode='reflect')
        weight = self.constant(np.broadcast_to(kernel, (channels, 1, 3, 3)).astype(np.float32))
        return self.node('Conv', padded, weight, kernel_shape=[3, 3], strides=[2, 2], group=channels)
