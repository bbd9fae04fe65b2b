"""The integer graph in OpenVINO against the float one."""

import pytest
import torch
from folded_networks import Features, network

from mmdensenet.export.int8 import calibrate

openvino = pytest.importorskip('openvino', reason='the extra export is not installed')


@pytest.mark.parametrize('changed', [dict(), dict(bottleneck=False), dict(stem='deep', stem_blur=True)])
def test_scores(changed):
    from mmdensenet.export.int8_openvino import int8_openvino

    folded = network(**changed)
    images = torch.randn(32, 3, 16, 16)
    model = Features(folded, len(folded.norm.scale))
    graph = int8_openvino(model, calibrate(folded, [images]), None, (16, 16))
    assert any(node.get_type_name() == 'FakeQuantize' for node in graph.get_ops())
    scores = openvino.compile_model(graph, 'CPU')(images.numpy())['scores']
    with torch.no_grad():
        expected = model(images)
    error = torch.logit(torch.from_numpy(scores).double()) - expected
    assert 0 < error.std() / expected.std() < 0.03, 'in integers, and exact to their rounding'
