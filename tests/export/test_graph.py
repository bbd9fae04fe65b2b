"""The inference graph that each format gets computes the classifier's scores."""

from types import SimpleNamespace

import pytest
import torch
from foldable_networks import network
from helpers import assert_same

from mmdensenet.export.fold import FoldedBlock
from mmdensenet.export.graph import inference_graph
from mmdensenet.export.group import GroupedBlock


@pytest.mark.parametrize(
    ('format', 'padded', 'block'),
    [('onnx', True, GroupedBlock), ('openvino', False, GroupedBlock), ('torch-export', False, FoldedBlock)],
)
def test_formats(format, padded, block):
    net = network('bottleneck')
    model = SimpleNamespace(backbone=net, with_neck=False, head=lambda features: features[-1].mean((2, 3)))
    graph = inference_graph(model, format)
    images = torch.randn(2, 3, 37, 50, dtype=torch.double)
    assert_same(graph(images), model.head(net(images)).softmax(1), 1e-10)
    convolutions = [module for module in graph.modules() if isinstance(module, torch.nn.Conv2d)]
    assert all(conv.out_channels % 8 == 0 for conv in convolutions if conv.kernel_size == (3, 3)) is padded
    assert all(isinstance(each, block) for each in graph.backbone.blocks)
