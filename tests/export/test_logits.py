"""The second output of exported graphs: what their scores are made of."""

import numpy as np
import pytest
from exported_means import means, run_onnx
from scipy.special import expit, softmax

from mmdensenet.export.logits import add_logits_to_onnx, add_logits_to_openvino

onnx = pytest.importorskip('onnx', reason='the extra export is not installed')
pytest.importorskip('onnxruntime', reason='the extra export is not installed')

IMAGE = np.random.default_rng(0).normal(size=(1, 3, 8, 8)).astype(np.float32)
KINDS = {'Softmax': lambda x: softmax(x, 1), 'Sigmoid': expit}


def ending_in(kind: str):
    graph = means()
    graph.graph.node[-1].output[0] = 'flat'
    graph.graph.node.append(onnx.helper.make_node(kind, ['flat'], ['scores']))
    return graph


@pytest.mark.parametrize('kind', KINDS)
def test_onnx(kind):
    graph = ending_in(kind)
    add_logits_to_onnx(graph)
    onnx.checker.check_model(graph, full_check=True)
    scores, logits = run_onnx(graph, IMAGE, 'scores', 'logits')
    assert logits == pytest.approx(IMAGE.mean((2, 3)), abs=1e-6) and scores == pytest.approx(KINDS[kind](logits))


@pytest.mark.parametrize('kind', KINDS)
def test_openvino(kind, tmp_path):
    openvino = pytest.importorskip('openvino', reason='the extra export is not installed')
    onnx.save(ending_in(kind), str(tmp_path / 'm.onnx'))
    model = openvino.convert_model(tmp_path / 'm.onnx')
    add_logits_to_openvino(model)
    found = openvino.compile_model(model, 'CPU')(IMAGE)
    assert found['logits'] == pytest.approx(IMAGE.mean((2, 3)), abs=1e-6)
    assert found['scores'] == pytest.approx(KINDS[kind](found['logits']))


def test_graphs_that_end_otherwise():
    with pytest.raises(NotImplementedError, match='ends in Flatten, not in Softmax or Sigmoid'):
        add_logits_to_onnx(means())
