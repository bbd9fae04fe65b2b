"""Composes two graphs."""

from torch import Tensor, nn

from .files import dynamic_axes, to_onnx, to_openvino
from .metadata import Metadata


def put_before(first: nn.Module, graph: object, example: Tensor, metadata: Metadata) -> object:
    """``graph`` applied to the output of ``first``; a module, onnx.ModelProto or openvino.Model as ``graph`` is.

    Args:
        example: an input of ``first``, with ``metadata``'s :func:`dynamic_axes`.
    """
    if isinstance(graph, nn.Module):
        return nn.Sequential(first, graph).eval()
    import onnx

    if isinstance(graph, onnx.ModelProto):
        (opset,) = graph.opset_import
        proto = to_onnx(first, example, dynamic_axes(metadata), opset_version=opset.version)
        return _joined(proto, graph)
    import openvino

    made = to_openvino(to_onnx(first, example, dynamic_axes(metadata)))
    (given,), (result,) = graph.get_parameters(), made.get_results()
    given.output(0).replace(result.input_value(0))
    graph.output(0).set_names({'scores'})
    return openvino.Model(graph.get_results(), made.get_parameters(), graph.get_name())


def _joined(first, second):
    """Join two ONNX graphs that each have an input ``images`` and an output ``scores``."""
    import onnx

    first.ir_version = second.ir_version
    proto = onnx.compose.merge_models(first, second, [('scores', 'images')], prefix1='first_')
    for node in proto.graph.node:
        for index, name in enumerate(node.input):
            if name == 'first_images':
                node.input[index] = 'images'
    proto.graph.input[0].name = 'images'
    proto.graph.name = second.graph.name
    return proto
