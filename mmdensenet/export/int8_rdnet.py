"""RDNet's inference graph with its wide convolutions in 8-bit integers, static and calibrated.

The 1x1 convolutions of the blocks and the convolutions between stages, 97 to 99 % of the multiply-adds, are in
integers. Their inputs and outputs are unsigned bytes with one scale; weights are signed, with one scale per output
channel:

- After a layer norm every channel gets its own scale at no cost: the norm's weight and bias contain its inverse, and
  the weights of the convolution the scale itself. All channels then use the full range of a byte.
- The depthwise convolutions have 1 to 3 % of the multiply-adds, and their inputs differ between channels by orders of
  magnitude. They, the norms, GELU and squeeze-and-excitation are in float.

Weights are limited to +-64, for the reason in :mod:`.int8`.
"""

import copy
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

from .files import to_onnx, to_openvino
from .fold import ScoresOf
from .int8 import SMALLEST, Range, Weight, require_finite, run_with_hooks, scale_and_zero


def int8_rdnet(model: nn.Module, batches: Iterable[Tensor], batch: int | None, size: tuple[int, int], format: str):
    """A classifier with an RDNet as an onnx.ModelProto with QuantizeLinear and DequantizeLinear around convolutions.

    Args:
        batches: normalised images (N, C, H, W) that calibrate the ranges.
        batch: None for any.
        format: 'onnx', or 'openvino' for the same as an openvino.Model.

    Raises:
        ValueError: if there is no image for the calibration, or a value is not finite.
    """
    graph = ScoresOf(copy.deepcopy(model)).eval()
    for stage in graph.backbone.stages:
        stage.engine = 'reference'  # it calls its modules, whose hooks the calibration uses
    convolutions, ranges = _calibrate(graph, batches)
    quantised = {}
    for stage in graph.backbone.stages:
        for norm, conv in [(stage.norm, stage.conv), *((block.norm, block.pwconv1) for block in stage.blocks)]:
            if conv in ranges:  # a first stage has none, and stages behind the last of out_indices do not run
                quantised[conv] = _equalise(norm, conv, ranges[conv][0])
        for block in stage.blocks:
            if block.pwconv2 in ranges:
                given = ranges[block.pwconv2][0]
                quantised[block.pwconv2] = (float(given.low.min()), float(given.high.max()))
    example = torch.zeros(batch or 2, graph.backbone.stem[0].in_channels, *size)
    proto = to_onnx(graph, example, {0: torch.export.Dim('batch')} if batch is None else None)
    nodes = [node for node in proto.graph.node if node.op_type == 'Conv']
    assert len(nodes) == len(convolutions), 'each convolution runs once, in this order'
    writer = _Writer(proto)
    for node, conv in zip(nodes, convolutions):
        if conv in quantised:
            out = ranges[conv][1]
            writer.quantise(node, conv, quantised[conv], (float(out.low.min()), float(out.high.max())))
    used = {name for node in proto.graph.node for name in node.input}
    for initializer in [i for i in proto.graph.initializer if i.name not in used]:
        proto.graph.initializer.remove(initializer)
    return proto if format == 'onnx' else to_openvino(proto)


def _calibrate(graph: nn.Module, batches: Iterable[Tensor]) -> tuple[list[nn.Conv2d], dict]:
    """The convolutions in the order in which they run, with the ranges per channel of their inputs and outputs."""
    order: list[nn.Conv2d] = []
    ranges: dict[nn.Module, tuple[Range, Range]] = {}

    def record(conv: nn.Conv2d, inputs: tuple[Tensor], out: Tensor) -> None:
        if conv not in ranges:
            order.append(conv)
            ranges[conv] = tuple(
                Range(np.full(n, np.inf), np.full(n, -np.inf)) for n in (inputs[0].shape[1], len(out[0]))
            )
        for kept, values in zip(ranges[conv], (inputs[0], out)):
            kept.update(values)

    run_with_hooks(graph, {nn.Conv2d: record}, batches)
    require_finite([kept for pair in ranges.values() for kept in pair])
    return order, ranges


@torch.no_grad()
def _equalise(norm: nn.LayerNorm, conv: nn.Conv2d, given: Range) -> tuple[float, float]:
    """Scale the norm's channels to -1..1 and the convolution's weights inversely; return the remaining range."""
    largest = np.maximum(np.maximum(np.abs(given.low), np.abs(given.high)), SMALLEST)
    scale = torch.from_numpy(largest).to(norm.weight.dtype)
    norm.weight.div_(scale)
    norm.bias.div_(scale)
    conv.weight.mul_(scale[:, None, None])
    return float((given.low / largest).min()), float((given.high / largest).max())


class _Writer:
    def __init__(self, proto):
        from onnx import helper, numpy_helper

        self.graph, self.helper, self.numpy_helper = proto.graph, helper, numpy_helper
        self.made = 0

    def quantise(self, node, conv: nn.Conv2d, given: tuple[float, float], out: tuple[float, float]) -> None:
        """Quantise the input and output of a Conv node, and its weights and bias."""
        scale, zero = scale_and_zero(*given)
        weight = conv.weight.detach().double().numpy()
        bias = conv.bias.detach().double().numpy()
        integers = Weight.of(weight, bias / scale)
        steps = integers.scale.astype(np.float32)
        products = steps * np.float32(scale)  # the bias's scale: the runtime adds it to sums of products
        x = self._through_bytes(node.input[0], scale, zero, node)
        w = self._integers(integers.levels, steps, node)
        b = self._integers(np.rint(bias / products.astype(np.float64)).astype(np.int32), products, node)
        result = node.output[0]
        del node.input[:]
        node.input.extend([x, w, b])
        node.output[0] = f'{result}_float'
        self._through_bytes(node.output[0], *scale_and_zero(*out), node, result, after=True)

    def _through_bytes(
        self, x: str, scale: float, zero: int, beside, result: str | None = None, after: bool = False
    ) -> str:
        parameters = [self._constant(np.float32(scale)), self._constant(np.uint8(zero))]
        levels, result = self._name(), result or self._name()
        nodes = [
            self.helper.make_node('QuantizeLinear', [x, *parameters], [levels], name=self._name()),
            self.helper.make_node('DequantizeLinear', [levels, *parameters], [result], name=self._name()),
        ]
        self._insert(nodes, beside, after)
        return result

    def _integers(self, levels: np.ndarray, steps: np.ndarray, before) -> str:
        name = self._name()
        inputs = [self._constant(levels), self._constant(steps), self._constant(np.zeros(len(steps), levels.dtype))]
        node = self.helper.make_node('DequantizeLinear', inputs, [name], name=self._name(), axis=0)
        self._insert([node], before, False)
        return name

    def _insert(self, nodes: list, beside, after: bool) -> None:
        at = next(i for i, node in enumerate(self.graph.node) if node is beside or node.name == beside.name)
        for offset, node in enumerate(nodes):
            self.graph.node.insert(at + after + offset, node)

    def _constant(self, value: np.ndarray) -> str:
        name = self._name()
        self.graph.initializer.append(self.numpy_helper.from_array(np.asarray(value), name))
        return name

    def _name(self) -> str:
        self.made += 1
        return f'int8_{self.made}'
