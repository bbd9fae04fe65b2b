"""Weights that are NaN are said to be, by each tool that takes them."""

import numpy as np
import pytest
import torch
from conftest import DIGITS

import mmdensenet
from mmdensenet.errors import UserError


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
    assert done.status == 2 and f'{checkpoint}: the scores of 450 of 450 images are not all numbers' in done.err
    caplog.clear()
    run_tool('export.py', DIGITS, checkpoint, '--out', tmp_path / 'm.onnx', '--check', '5')
    messages = [message for message in caplog.messages if 'finite' in message]
    assert messages == [f'{checkpoint}: {said}.'], 'export, predict and serve open a model in the same way'


def test_a_variance_below_0_gives_scores_that_are_none(tmp_path):
    """All weights are finite, and no score: the largest of them would be class 0."""
    model = mmdensenet.get_model(str(DIGITS))
    model.backbone.stages[0].block[0].norm1.running_var.fill_(-1)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'w.pth')
    with pytest.raises(UserError, match=r'w\.pth: the scores of 450 of 450 images are not all numbers'):
        mmdensenet.apis.test_model(str(DIGITS), str(tmp_path / 'w.pth'), work_dir=str(tmp_path / 't'))
    with pytest.raises(UserError, match='are not finite numbers: the weights are damaged'):
        mmdensenet.inference(str(DIGITS), np.zeros((8, 8), np.uint8), str(tmp_path / 'w.pth'))
