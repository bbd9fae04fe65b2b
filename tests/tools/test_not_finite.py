"""Weights that are NaN are said to be, by each tool that takes them."""

import pytest
import torch
from conftest import DIGITS

import mmdensenet


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    model = mmdensenet.get_model(str(DIGITS))
    with torch.no_grad():
        model.head.fc.weight[0, 0] = float('nan')
        model.backbone.stem[0].weight[0, 0, 0, 0] = float('inf')
    file = tmp_path_factory.mktemp('nan') / 'nan.pth'
    torch.save(dict(state_dict=model.state_dict()), file)
    return file


def test_convert_test_and_export_say_how_many(run_tool, checkpoint, tmp_path, caplog):
    said = '2 tensors have values that are not finite (NaN or infinity), the first backbone.stem.0.weight'
    done = run_tool('convert_checkpoint.py', checkpoint, tmp_path / 'c.pth')
    assert said in done.out
    done = run_tool('test.py', DIGITS, checkpoint, '--work-dir', tmp_path / 't')
    assert f'warning: {checkpoint}: {said}.' in done.out
    caplog.clear()
    run_tool('export.py', DIGITS, checkpoint, '--out', tmp_path / 'm.onnx', '--check', '5')
    messages = [message for message in caplog.messages if 'finite' in message]
    assert messages == [f'{checkpoint}: {said}.'], 'export, predict and serve open a model in the same way'
