"""The file for TensorRT: its rules, since TensorRT cannot be run here, and its scores in ONNX Runtime."""

import numpy as np
import pytest
import torch
from folded_networks import Features, network

from mmdensenet.export.int8 import calibrate

onnx = pytest.importorskip('onnx', reason='the extra export is not installed')
onnxruntime = pytest.importorskip('onnxruntime', reason='the extra export is not installed')


def check_rules(model) -> int:
    """Every Quantize and Dequantize has signed bytes and zero points of 0; every convolution over more than a channel
    reads two of them, a tensor with one scale and weights with one per output channel. How many convolutions there are.
    """
    onnx.checker.check_model(model, full_check=True)
    graph = model.graph
    constants = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
    makers = {output: node for node in graph.node for output in node.output}
    for node in graph.node:
        if node.op_type in ('QuantizeLinear', 'DequantizeLinear'):
            scale, zero = (constants[name] for name in node.input[1:3])
            assert zero.dtype == np.int8 and not zero.any(), f'{node.name}: zero point {zero}'
            assert scale.dtype == np.float32 and (scale > 0).all() and np.isfinite(scale).all()
    convolutions = [
        node for node in graph.node if node.op_type == 'Conv' and not any(a.name == 'group' for a in node.attribute)
    ]
    for node in convolutions:
        x, weight = (makers[name] for name in node.input[:2])
        assert x.op_type == weight.op_type == 'DequantizeLinear', node.name
        quantise = makers[x.input[0]]
        assert quantise.op_type == 'QuantizeLinear' and list(quantise.input[1:]) == list(x.input[1:])
        assert constants[x.input[1]].ndim == 0, 'per tensor'
        levels, scale = constants[weight.input[0]], constants[weight.input[1]]
        assert levels.dtype == np.int8 and np.abs(levels.astype(int)).max() == 127
        assert scale.shape == levels.shape[:1], 'per channel'
        assert [a.i for a in weight.attribute if a.name == 'axis'] == [0]
        assert constants[node.input[2]].dtype == np.float32
    return len(convolutions)


@pytest.mark.parametrize(
    'changed',
    [dict(), dict(bottleneck=False), dict(stem='imagenet'), dict(stem='deep', stem_blur=True)],
    ids=['bottleneck', 'plain', 'imagenet', 'deep and blur'],
)
def test_rules_and_scores(changed):
    from mmdensenet.export.int8_symmetric import int8_symmetric

    if changed.get('stem') == 'deep':
        changed['arch'] = dict(growth_rate=8, depths=(3, 3), init_channels=64)
    net = network(**changed)
    images = torch.randn(32, 3, 16, 16)
    ranges = calibrate(net, images.split(8))
    model = Features(net, len(net.norm.scale))
    file = int8_symmetric(model, ranges, None, (16, 16))
    wanted = len([part for part in net.modules() if isinstance(part, torch.nn.Conv2d)])
    assert check_rules(file) == wanted
    with torch.no_grad():
        expected = model(images).double()
    allowed = 0.015 if changed.get('stem') == 'deep' else 0.008  # less than half of test_int8's: 8 bits, not 7
    for level in ('ORT_DISABLE_ALL', 'ORT_ENABLE_ALL'):  # the operators as they are defined, and with fusions
        error = torch.logit(torch.from_numpy(run(file, images, level)).double()) - expected
        assert error.std() / expected.std() < allowed, level


def run(file, images: torch.Tensor, level: str) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    session = onnxruntime.InferenceSession(file.SerializeToString(), options, ['CPUExecutionProvider'])
    return session.run(None, {'images': images.numpy()})[0]
