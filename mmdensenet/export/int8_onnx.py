"""The integer graph as ONNX: QuantizeLinear and DequantizeLinear around ordinary operators, which runtimes fuse."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .fold import ScoresOf
from .int8 import BINOMIAL, LEVELS, WEIGHT_LEVELS, Int8Graph, Weight

OPSET = 20
IR_VERSION = 10


def int8_onnx(model: ScoresOf, ranges: dict, batch: int | None, size: tuple[int, int]) -> onnx.ModelProto:
    """A folded classifier with global average pooling and one linear layer, its backbone in integers.

    Args:
        ranges: of :func:`.int8.calibrate`.
        batch: None for any.
    """
    writer = OnnxWriter()
    return writer.classifier(Int8Graph(model.backbone, ranges, writer).features('images'), model, batch, size)


class OnnxWriter:
    """Writes the nodes of :class:`.int8.Writer`; handles are names of uint8 tensors."""

    clamps = True

    def __init__(self):
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.one = self.constant(np.float32(1))
        self.zero = self.constant(np.uint8(0))

    def constant(self, value: np.ndarray) -> str:
        name = f'constant_{len(self.constants)}'
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def classifier(self, features: str, model: ScoresOf, batch: int | None, size: tuple[int, int]) -> onnx.ModelProto:
        """The graph from ``images`` to ``scores``, with the model's pooling and linear layer after these features."""
        x = self.node('Flatten', self.node('GlobalAveragePool', features))
        fc = model.head.fc
        weight, bias = (self.constant(t.detach().float().numpy()) for t in (fc.weight, fc.bias))
        x = self.node('Gemm', x, weight, bias, transB=1)
        kind = ('Sigmoid', {}) if model.multi_label else ('Softmax', dict(axis=1))
        self.nodes.append(helper.make_node(kind[0], [x], ['scores'], **kind[1]))
        batch = 'batch' if batch is None else batch
        given = helper.make_tensor_value_info('images', TensorProto.FLOAT, [batch, model.backbone.in_channels, *size])
        made = helper.make_tensor_value_info('scores', TensorProto.FLOAT, [batch, fc.out_features])
        graph = helper.make_graph(self.nodes, 'mmdensenet', [given], [made], self.constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid('', OPSET)], ir_version=IR_VERSION)

    def node(self, kind: str, *inputs: str, **attributes) -> str:
        name = f'{kind}_{len(self.nodes)}'
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def quantise(self, x: str, scale: float, zero: int) -> str:
        return self.node('QuantizeLinear', x, self.constant(np.float32(scale)), self.constant(np.uint8(zero)))

    def _dequantised(self, x: str, zero: int = 0) -> str:
        return self.node('DequantizeLinear', x, self.one, self.constant(np.uint8(zero)) if zero else self.zero)

    def _constants(self, levels: np.ndarray, scale: np.ndarray) -> str:
        zeros = self.constant(np.zeros(len(scale), levels.dtype))
        return self.node('DequantizeLinear', self.constant(levels), self.constant(scale), zeros, axis=0)

    def convolution(self, x: str, weight: Weight, bias: np.ndarray, stride: int, padding: int, group: int = 1) -> str:
        scale = weight.scale.astype(np.float32)
        kernel = weight.levels.shape[-1]
        y = self.node(
            'Conv',
            self._dequantised(x, weight.zero),
            self._constants(weight.levels, scale),
            self._constants(np.rint(bias / weight.scale).astype(np.int32), scale),
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[padding] * 4,
            group=group,
        )
        return self.node('QuantizeLinear', y, self.one, self.zero)

    def requantise(self, x: str, factor: np.ndarray, shift: np.ndarray) -> str:
        # a depthwise convolution, which runs in integers: runtimes have no integer operator for this
        return self.convolution(x, Weight.of(factor.reshape(-1, 1, 1, 1), shift), shift, 1, 0, group=len(factor))

    def clamp(self, x: str, low: np.ndarray, high: np.ndarray) -> str:
        for kind, bound, nothing in (('Max', low, 0), ('Min', high, LEVELS)):
            if (bound != nothing).any():
                x = self.node(kind, x, self.constant(bound.astype(np.uint8).reshape(1, -1, 1, 1)))
        return x

    def average_pool(self, x: str, channels: int) -> str:
        # a convolution too: integer pooling is slow in runtimes
        return self._pooling_convolution(x, np.full((channels, 1, 2, 2), WEIGHT_LEVELS, np.int8))

    def _pooling_convolution(self, x: str, levels: np.ndarray) -> str:
        """A depthwise one with stride 2, whose weights in quarters of :data:`.int8.WEIGHT_LEVELS` add up to 1."""
        channels = len(levels)
        weight = Weight(levels, np.full(channels, 0.25 / WEIGHT_LEVELS))
        return self.convolution(x, weight, np.zeros(channels), 2, 0, group=channels)

    def float_relu(self, x: str, factor: np.ndarray, shift: np.ndarray) -> str:
        factor, shift = (self.constant(v.astype(np.float32).reshape(1, -1, 1, 1)) for v in (factor, shift))
        return self.node('Relu', self.node('Add', self.node('Mul', self._dequantised(x), factor), shift))

    def concat(self, x: str, y: str) -> str:
        return self.node('Concat', x, y, axis=1)

    def max_pool(self, x: str, stride: int) -> str:
        return self.node('MaxPool', x, kernel_shape=[3, 3], strides=[stride, stride], pads=[1, 1, 1, 1])

    def blur_pool(self, x: str, channels: int) -> str:
        padded = self.node('Pad', x, self.constant(np.array([0, 0, 1, 1, 0, 0, 1, 1])), mode='reflect')
        levels = np.broadcast_to(BINOMIAL * (WEIGHT_LEVELS // 4), (channels, 1, 3, 3)).astype(np.int8)
        return self._pooling_convolution(padded, levels)
