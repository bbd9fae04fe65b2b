"""A second output of exported graphs: what their scores are made of, which decisions are taken from."""

#: names of the operators that make scores of logits, as ONNX and OpenVINO have them
_LAST = ('Softmax', 'Sigmoid')


def add_logits_to_onnx(proto) -> None:
    """Give an onnx.ModelProto with the output ``scores`` the output ``logits``, of the same shape, in place."""
    from onnx import helper

    graph = proto.graph
    (last,) = (node for node in graph.node if 'scores' in node.output)
    _require_last(last.op_type)
    graph.node.append(helper.make_node('Identity', [last.input[0]], ['logits']))
    made = graph.output.add()
    made.CopyFrom(graph.output[0])
    made.name = 'logits'


def add_logits_to_openvino(model) -> None:
    """The same for an openvino.Model."""
    from openvino import opset13 as ops

    (result,) = model.get_results()
    last = result.input_value(0).get_node()
    _require_last(last.get_type_name())
    logits = last.input_value(0)
    logits.set_names({'logits'})
    model.add_results([ops.result(logits)])


def _require_last(kind: str) -> None:
    if kind.lower() not in map(str.lower, _LAST):
        raise NotImplementedError(f'the graph ends in {kind}, not in {" or ".join(_LAST)}')
