"""What cannot be exported together is refused; tests/tools/test_export.py runs whole exports."""

import pytest
from conftest import DIGITS

from mmdensenet.apis import export_model
from mmdensenet.errors import UserError


def test_it_needs_int8_and_onnx(tmp_path):
    message = r'^`symmetric` says which integers, so it needs `int8`, and the format onnx'
    for settings in (dict(symmetric=True), dict(symmetric=True, int8=True, format='openvino')):
        with pytest.raises(UserError, match=message):
            export_model(str(DIGITS), 'none.pth', tmp_path / 'm.onnx', **settings)
