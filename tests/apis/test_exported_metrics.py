"""An exported file has the metrics and predictions of its checkpoint; fit/test_hand_over.py has files in colour."""

import json

import numpy as np
import pytest

from mmdensenet.apis import export_model, test_model
from mmdensenet.apis.decide_checkpoint import decide_checkpoint
from mmdensenet.errors import UserError
from mmdensenet.results.decisions import OTHERS


def test_a_file_is_tested_as_its_checkpoint(decided, tmp_path):
    config, checkpoint, _ = decided
    file, lines = str(tmp_path / 'm.pt2'), []
    export_model(config, checkpoint, file, 'torch-export', dynamic=True, check=1)
    found = test_model(config, file, out=str(tmp_path / 'file.npz'), report=lines.append)
    wanted = test_model(config, checkpoint, out=str(tmp_path / 'checkpoint.npz'), work_dir=str(tmp_path))
    assert found == pytest.approx(wanted, abs=1e-4) and 'decided/coverage' in found and 'accuracy/top1' in found
    assert lines[0].startswith('Scores are calibrated') and lines[-1] == OTHERS
    with np.load(tmp_path / 'file.npz') as one, np.load(tmp_path / 'checkpoint.npz') as other:
        assert set(one) == set(other)
        for name in other:
            same = one[name].tolist() == other[name].tolist()
            assert same or np.abs(one[name] - other[name]).max() < 1e-3 * max(1, np.abs(other[name]).max()), name
    none = {'test_evaluator': None}
    with pytest.raises(UserError, match='there are no metrics: give out=FILE'):
        test_model(config, file, cfg_options=none)
    assert test_model(config, file, out=str(tmp_path / 'file.json'), cfg_options=none) == {}
    assert len(json.loads((tmp_path / 'file.json').read_text())) == 250
    with pytest.raises(UserError, match='tta: is for checkpoints'):
        test_model(config, file, tta=True)
    with pytest.raises(UserError, match='is an exported file: give the checkpoint'):
        decide_checkpoint(config, file)
