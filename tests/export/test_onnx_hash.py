"""mmdensenet.export.onnx_hash: another metadata entry for readers, and every flipped bit is seen."""

import pytest

from mmdensenet.export.onnx_hash import append_hash, is_as_written

onnx = pytest.importorskip('onnx')


@pytest.fixture
def file(tmp_path):
    graph = onnx.helper.make_graph([], 'graph', [], [])
    model = onnx.helper.make_model(graph)
    onnx.helper.set_model_props(model, {'classes': 'cat, dog'})
    file = tmp_path / 'model.onnx'
    onnx.save(model, str(file))
    return file


def test_it_is_one_more_entry(file):
    assert is_as_written(file), 'a file without one'
    append_hash(file)
    props = {entry.key: entry.value for entry in onnx.load(str(file)).metadata_props}
    assert props.keys() == {'classes', 'mmdensenet_sha256'} and props['classes'] == 'cat, dog'
    assert len(props['mmdensenet_sha256']) == 64 and is_as_written(file)


def test_a_flipped_bit_is_seen_wherever_it_is(file):
    append_hash(file)
    content = file.read_bytes()
    head = content.index(b'mmdensenet_sha256') - 4  # of the entry: a file whose entry is none has no hash
    for position in [*range(0, head, 3), *range(len(content) - 64, len(content))]:
        file.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        assert not is_as_written(file), position


@pytest.mark.parametrize('size', [0, 3, 84])
def test_files_too_short_for_one(tmp_path, size):
    (tmp_path / 'short').write_bytes(b'x' * size)
    assert is_as_written(tmp_path / 'short')
