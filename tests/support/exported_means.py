"""An exported graph of the mean of each channel."""

from dataclasses import replace

import numpy as np

from mmdensenet.export.files import write_onnx
from mmdensenet.export.metadata import Metadata

ABOUT = Metadata(
    version='0',
    model='means',
    checkpoint='w.pth',
    sha256='',
    classes=['red', 'green', 'blüe "1"'],
    num_classes=3,
    multi_label=False,
    threshold=None,
    topk=None,
    channels=3,
    order='RGB',
    size=[8, 8],
    batch=1,
    mean=[1.0, 1.0, 1.0],
    std=[2.0, 2.0, 2.0],
    pipeline=[dict(type='Resize', scale=[8, 8]), dict(type='PackInputs')],
    reads='BGR',
    with_preprocess=False,
    any_size=False,
    int8=False,
)


def means(given: str = 'images'):
    """The graph: the mean of each channel of one image."""
    from onnx import TensorProto, helper

    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in ((given, [1, 3, 8, 8]), ('scores', [1, 3]))
    ]
    nodes = [helper.make_node('GlobalAveragePool', [given], ['m']), helper.make_node('Flatten', ['m'], ['scores'])]
    graph = helper.make_graph(nodes, 'means', values[:1], values[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid('', 20)], ir_version=10)


IMAGE = np.full((10, 9, 3), (3, 5, 9), np.uint8)  # BGR


def written(folder, graph=None, **changed):
    write_onnx(graph or means(), None, replace(ABOUT, **changed), folder / 'm.onnx')
    return folder / 'm.onnx'


def run_onnx(graph, images, *outputs):
    """Outputs of a graph in ONNX Runtime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=['CPUExecutionProvider'])
    return session.run(outputs, {'images': images})
