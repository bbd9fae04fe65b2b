"""The inference graph that each format gets."""

from torch import nn

from .fold import ScoresOf, folded
from .group import group_concatenations
from .pad import pad_channels


def inference_graph(model: nn.Module, format: str) -> ScoresOf:
    """The folded graph of a classifier, in the form that the format's runtime computes fastest.

    Args:
        format: 'onnx', 'openvino' or 'torch-export'.

    Raises:
        ValueError: where its backbone cannot be folded.
    """
    graph = folded(model)
    if format == 'onnx':
        pad_channels(graph.backbone)
    if format != 'torch-export':
        group_concatenations(graph.backbone)
    return graph
