"""Writing exported files."""

import pytest
from exported_means import ABOUT

from mmdensenet.errors import UserError
from mmdensenet.export.files import write_openvino


def test_a_disk_that_fills_up(tmp_path, monkeypatch):
    openvino = pytest.importorskip('openvino', reason='the extra export is not installed')

    def full(*args, **options):
        raise RuntimeError('basic_ios::clear: iostream error')

    monkeypatch.setattr(openvino, 'save_model', full)
    file = tmp_path / 'm.xml'
    with pytest.raises(UserError, match=rf'^out={file} cannot be written \(is the disk full'):
        write_openvino(openvino.Model([], [], 'empty'), None, ABOUT, file)
    assert not list(tmp_path.iterdir())
