"""openmim starts our tools: `mim train mmdensenet CONFIG`."""

import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_mim_trains(run_command, tmp_path):
    """openmim 0.3.9 asks for setuptools 60 and so is in no environment of ours: docs/train_and_test.md."""
    pytest.importorskip('mim', reason='openmim is not installed')
    mim = Path(sys.executable).with_name('mim')
    config = 'densenet-bc-l22-k12_1xb32_digits.py'
    options = ('--cfg-options', 'train_cfg.max_epochs=1', 'param_scheduler.milestones=[1]')
    done = run_command(mim, 'train', 'mmdensenet', config, '--work-dir', tmp_path / 'run', *options, cwd=tmp_path)
    assert done.status == 0, done.err
    assert (tmp_path / 'run/epoch_1.pth').is_file()
    assert 'Training finished successfully' in done.out
