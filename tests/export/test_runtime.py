"""An exported file that is not what its description says is refused by name."""

import numpy as np
import pytest
from exported_means import ABOUT, IMAGE, means, written

from mmdensenet.apis import open_inferencer
from mmdensenet.errors import UserError
from mmdensenet.export.files import write_openvino

pytest.importorskip('onnxruntime', reason='the extra export is not installed')


def test_a_damaged_onnx_file(tmp_path):
    """A flipped bit in a weight would be read, and give other scores."""
    import onnx
    from onnx import helper, numpy_helper

    weights = np.linspace(0.5, 1.5, 3, dtype=np.float32).reshape(3, 1, 1)
    graph = means()
    graph.graph.initializer.append(numpy_helper.from_array(weights, 'w'))
    graph.graph.node.insert(0, helper.make_node('Mul', ['images', 'w'], ['scaled']))
    graph.graph.node[1].input[0] = 'scaled'
    file = written(tmp_path, graph)
    onnx.checker.check_model(str(file), full_check=True)
    (result,) = open_inferencer(file)(IMAGE)
    assert result['pred_scores'].tolist() == [2.0, 2.0, 1.5]
    content = file.read_bytes()
    place = content.index(weights.tobytes())
    file.write_bytes(content[: place + 2] + bytes([content[place + 2] ^ 1]) + content[place + 3 :])
    with pytest.raises(UserError, match=rf'^{file} is damaged, or was changed after its export'):
        open_inferencer(file)
    model = onnx.load_from_string(content)
    assert [entry.key for entry in model.metadata_props] == ['mmdensenet', 'mmdensenet_sha256']
    del model.metadata_props[1]
    file.write_bytes(model.SerializeToString())
    assert open_inferencer(file)(IMAGE)[0]['pred_scores'].tolist() == [2.0, 2.0, 1.5], 'as older versions wrote it'


def test_the_server_says_so_before_it_serves(run_tool, tmp_path):
    pytest.importorskip('fastapi', reason='the extra serve is not installed')
    file = written(tmp_path, means('x'))
    done = run_tool('serve.py', file, '--port', '0')
    assert done.status == 2 and f'error: {file} cannot be run' in done.err and 'Serving' not in done.out
    assert 'Traceback' not in done.err


def test_a_description_that_is_no_text(tmp_path):
    openvino = pytest.importorskip('openvino', reason='the extra export is not installed')
    import onnx

    onnx.save(means(), str(tmp_path / 'm.onnx'))
    file = tmp_path / 'm.xml'
    write_openvino(openvino.convert_model(tmp_path / 'm.onnx'), None, ABOUT, file)
    assert open_inferencer(file)(IMAGE)[0]['pred_class'] == 'red'
    file.write_bytes(file.read_bytes().replace('blüe'.encode(), b'bl\xfae'))
    with pytest.raises(UserError, match=f'^{file} cannot be read'):
        open_inferencer(file)


def test_openvino_weights_of_another_file(tmp_path):
    openvino = pytest.importorskip('openvino', reason='the extra export is not installed')
    from openvino import opset13 as ops

    for name, weights in (('a', [1, 2, 3]), ('b', [3, 2, 1])):
        images = ops.parameter([1, 3, 8, 8], np.float32, 'images')
        scores = ops.multiply(ops.reduce_mean(images, np.array([2, 3]), False), np.array([weights], np.float32))
        write_openvino(openvino.Model([scores], [images], name), None, ABOUT, tmp_path / f'{name}.xml')
    file = tmp_path / 'a.xml'
    assert open_inferencer(file)(IMAGE)[0]['pred_scores'].tolist() == [4.0, 4.0, 3.0]
    (tmp_path / 'b.bin').replace(tmp_path / 'a.bin')
    with pytest.raises(UserError, match=r'a\.bin is damaged or does not belong to .*a\.xml'):
        open_inferencer(file)
