"""Chooses the inference graph for each format."""

from torch import nn

from .fold import ScoresOf, folded
from .group import group_concatenations
from .pad import pad_channels


def inference_graph(model: nn.Module, format: str) -> ScoresOf:
    """The folded graph of a classifier, in the fastest form for the format's runtime.

    Args:
        format: 'onnx', 'openvino' or 'torch-export'.

    Raises:
        ValueError: if its backbone cannot be folded.
    """
    graph = folded(model)
    if format == 'onnx':
        pad_channels(graph.backbone)
    if format != 'torch-export':
        group_concatenations(graph.backbone)
    return graph
