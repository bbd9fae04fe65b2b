"""The integer graph for OpenVINO: FakeQuantize where its CPU plugin turns the operators between into integer ones."""

import numpy as np
import openvino
from openvino import opset13 as ops

from .fold import ScoresOf
from .int8 import BINOMIAL, LEVELS, Int8Graph, Weight


def int8_openvino(model: ScoresOf, ranges: dict, batch: int | None, size: tuple[int, int]) -> openvino.Model:
    """As :func:`.int8_onnx.int8_onnx`."""
    writer = OpenvinoWriter()
    channels = model.backbone.in_channels
    given = ops.parameter([-1 if batch is None else batch, channels, *size], np.float32, name='images')
    given.output(0).set_names({'images'})
    x = Int8Graph(model.backbone, ranges, writer).features(given)
    x = ops.reduce_mean(x, ops.constant(np.array([2, 3])), False)
    fc = model.head.fc
    x = ops.matmul(x, ops.constant(fc.weight.detach().float().numpy()), False, True)
    x = ops.add(x, ops.constant(fc.bias.detach().float().numpy().reshape(1, -1)))
    x = ops.sigmoid(x) if model.multi_label else ops.softmax(x, 1)
    x.output(0).set_names({'scores'})
    return openvino.Model([ops.result(x)], [given], 'mmdensenet')


class OpenvinoWriter:
    """Writes the nodes of :class:`.int8.Writer`; handles are nodes whose values are levels."""

    clamps = False  # the plugin computes a clamp between integer convolutions in float

    def quantise(self, x, scale: float, zero: int):
        # levels minus the zero point; the plugin turns this into the convolution's integer subtraction
        low, high = -float(zero), float(LEVELS - zero)
        return self._fake_quantize(x, [low * scale], [high * scale], [low], [high])

    def convolution(self, x, weight: Weight, bias: np.ndarray, stride: int, padding: int):
        scale = ops.constant(weight.scale.astype(np.float32).reshape(-1, 1, 1, 1))
        kernel = ops.multiply(ops.convert(ops.constant(weight.levels), 'f32'), scale)
        x = ops.convolution(x, kernel, [stride] * 2, [padding] * 2, [padding] * 2, [1, 1])
        return self._fake_quantize(ops.add(x, _per_channel(bias)), [0], [LEVELS], [0], [LEVELS])

    def requantise(self, x, factor: np.ndarray, shift: np.ndarray):
        factor = np.where(np.abs(factor) < 1e-6, np.where(factor < 0, -1e-6, 1e-6), factor)
        zero, top = -shift / factor, (LEVELS - shift) / factor  # the inputs of level 0 and of the last level
        falls = factor < 0
        return self._fake_quantize(
            x, np.minimum(zero, top), np.maximum(zero, top), np.where(falls, LEVELS, 0), np.where(falls, 0, LEVELS)
        )

    def average_pool(self, x, channels: int):
        x = ops.avg_pool(x, [2, 2], [0, 0], [0, 0], [2, 2], True, 'floor')
        return self._fake_quantize(x, [0], [LEVELS], [0], [LEVELS])

    def float_relu(self, x, factor: np.ndarray, shift: np.ndarray):
        return ops.relu(ops.add(ops.multiply(x, _per_channel(factor)), _per_channel(shift)))

    def concat(self, x, y):
        return ops.concat([x, y], 1)

    def max_pool(self, x, stride: int):
        return ops.max_pool(x, [stride] * 2, [1, 1], [1, 1], [1, 1], [3, 3]).output(0)

    def blur_pool(self, x, channels: int):
        ends = ops.constant(np.array([0, 0, 1, 1]))
        x = ops.pad(x, ends, ends, 'reflect')
        kernel = np.broadcast_to((BINOMIAL / 16).astype(np.float32), (channels, 1, 1, 3, 3))
        x = ops.group_convolution(x, ops.constant(kernel), [2, 2], [0, 0], [0, 0], [1, 1])
        return self._fake_quantize(x, [0], [LEVELS], [0], [LEVELS])

    def _fake_quantize(self, x, *bounds):
        return ops.fake_quantize(x, *map(_per_channel, bounds), LEVELS + 1)


def _per_channel(values) -> openvino.Node:
    return ops.constant(np.asarray(values, np.float32).reshape(1, -1, 1, 1))
