"""Quantise a classifier to 8-bit integers, in the graph of a format."""

from collections.abc import Iterable

from mmengine.model import BaseModel
from mmpretrain.models.heads import LinearClsHead, MultiLabelLinearClsHead
from mmpretrain.models.necks import GlobalAveragePooling
from torch import Tensor

from mmdensenet.errors import UserError
from mmdensenet.models import NormedAveragePooling, RDNet

from .fold import folded


def int8_graph(model: BaseModel, images: Iterable[Tensor], batch: int | None, size: tuple[int, int], format: str):
    """Return an ONNX model, or one of OpenVINO.

    Args:
        images: normalised batches (N, C, H, W), whose ranges calibrate the integers.
        batch: images at once; None for any number.
        size: height and width.
        format: 'onnx', 'openvino', or 'symmetric' for the integers that TensorRT takes, in ONNX.

    Raises:
        UserError: for weights or activations that cannot be quantised.
    """
    from .int8 import calibrate

    try:
        if isinstance(model.backbone, RDNet):
            from .int8_rdnet import int8_rdnet

            return int8_rdnet(model, images, batch, size, format)
        graph = folded(model)
        ranges = calibrate(graph.backbone, images)
    except ValueError as error:
        raise UserError(f'`int8`: {error}.') from error
    if format == 'symmetric':
        from .int8_symmetric import int8_symmetric as quantise
    elif format == 'onnx':
        from .int8_onnx import int8_onnx as quantise
    else:
        from .int8_openvino import int8_openvino as quantise
    return quantise(graph, ranges, batch, size)


def require_quantisable(model: BaseModel, why_not_folded: str | None) -> None:
    """Check that a classifier has the parts that can be quantised.

    Raises:
        UserError: naming what it needs.
    """
    rdnet = isinstance(model.backbone, RDNet)
    if why_not_folded and not rdnet:
        raise UserError(f'`int8` needs a DenseNet with batch norm and ReLU: {why_not_folded}.')
    linear = type(model.head) in (LinearClsHead, MultiLabelLinearClsHead)
    neck = NormedAveragePooling if rdnet else GlobalAveragePooling
    if not isinstance(model.neck, neck) or not linear:
        pooling = 'NormedAveragePooling' if rdnet else 'global average pooling'
        raise UserError(f'`int8` needs {pooling} and a LinearClsHead or MultiLabelLinearClsHead.')
