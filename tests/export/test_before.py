"""A graph with another before it: the second of what the first gives."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from exported_means import ABOUT, means, run_onnx
from torch import nn

from mmdensenet.export.before import put_before
from mmdensenet.export.preprocess import Preprocess

FIRST = Preprocess(replace(ABOUT, mean=[1.0, 2.0, 3.0]))
PIXELS = torch.randint(0, 256, (1, 8, 8, 3), dtype=torch.uint8)


def test_modules():
    second = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert torch.equal(put_before(FIRST, second, PIXELS, ABOUT)(PIXELS), second(FIRST(PIXELS)))


def test_onnx():
    pytest.importorskip('onnxruntime', reason='the extra export is not installed')
    pytest.importorskip('onnxscript', reason='the extra export is not installed')
    graph = put_before(FIRST, means(), PIXELS, ABOUT)
    (scores,) = run_onnx(graph, PIXELS.numpy(), 'scores')
    assert scores == pytest.approx(FIRST(PIXELS).mean((2, 3)).numpy(), rel=1e-5)


def test_openvino():
    openvino = pytest.importorskip('openvino', reason='the extra export is not installed')
    pytest.importorskip('onnxscript', reason='the extra export is not installed')
    from openvino import opset13 as ops

    images = ops.parameter([1, 3, 8, 8], np.float32, 'images')
    second = openvino.Model([ops.reduce_mean(images, np.array([2, 3]), False)], [images], 'means')
    model = put_before(FIRST, second, PIXELS, ABOUT)
    scores = openvino.compile_model(model, 'CPU')(PIXELS.numpy())['scores']
    assert scores == pytest.approx(FIRST(PIXELS).mean((2, 3)).numpy(), rel=1e-5)
