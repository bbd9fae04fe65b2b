"""mmdet and mmseg with our backbone, as docs/inherit.md has it."""

import os
import sys

import pytest
from conftest import ROOT

FOLDER = ROOT / '.venv' / 'downstream'


@pytest.mark.slow
def test_detection_and_segmentation_train_a_step(run_command, tmp_path):
    if not (FOLDER / 'mmdet').is_dir() or not (FOLDER / 'mmseg').is_dir():
        pytest.skip('mmdet and mmseg are not in .venv/downstream: make test-all puts them there')
    path = os.pathsep.join([str(ROOT), str(ROOT / 'tests/support'), str(FOLDER)])
    script = ROOT / 'tests/scripts/detection_and_segmentation.py'
    done = run_command(sys.executable, '-W', 'ignore', script, tmp_path, PYTHONPATH=path, cwd=tmp_path)
    assert done.status == 0, done.err
    assert "retinanet_densenet121_fpn_1x_coco {'loss_cls'" in done.out
    assert "fcn_densenet121_4xb2-40k_cityscapes-512x1024 {'decode.loss_ce'" in done.out
