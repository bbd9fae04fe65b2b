"""mmdensenet.compat: importing mmdensenet makes every repair that the installed versions need, and nothing else."""

import json
import sys

import mmengine
import mmpretrain
import pytest
import torch
from conftest import ROOT

# they register their repairs when a tool imports them
import mmdensenet.apis.config
import mmdensenet.training.draws  # noqa: F401
from mmdensenet import compat
from mmdensenet.compat.faults import REPAIRED


@pytest.mark.parametrize('entry', compat.FAULTS, ids=lambda entry: entry.what[:40])
def test_the_pinned_versions_get_every_repair(entry):
    """With those of other foundations (make test-foundations) what they have repaired themselves is left out."""
    installed = {f'{package.__name__}=={package.__version__}' for package in (mmengine, mmpretrain)}
    pinned = installed <= set((ROOT / 'requirements/constraints.txt').read_text().split())
    assert entry.state == 'applied' or (not pinned and entry.reason == REPAIRED)
    assert len(entry.what) > 30 and entry.versions and entry.until and entry.targets


def test_importing_is_enough_and_changes_no_filters(run_command):
    """In a new process without pkg_resources: no filter changes, nothing heavy is imported, the rest then imports."""
    done = run_command(
        sys.executable,
        '-c',
        """
import json, sys, warnings
sys.modules["pkg_resources"] = None  # gone from setuptools >= 82
import torch, mmcv, mmengine.runner
before = list(warnings.filters)
import mmdensenet
heavy = [m for m in ("mmpretrain", "torchvision", "sklearn", "matplotlib.pyplot") if m in sys.modules]
same = warnings.filters == before
assert "mmcv.cnn.bricks.transformer" not in sys.modules  # a program may still bring operations of its own
import mmpretrain, torchvision.transforms.v2
from mmpretrain.models import build_classifier
same &= warnings.filters == before
from mmengine.hub import get_config
assert get_config("mmdensenet::densenet121_4xb256_in1k").model.backbone.arch == "121"
import mmpretrain.datasets, mmpretrain.evaluation  # before ours, as other projects do
skipped = [f.what for f in mmdensenet.compat.FAULTS if f.state == 'skipped' and 'has repaired it' not in f.reason]
import mmdensenet.apis
heavy += [m for m in ("scipy.stats", "scipy.optimize", "sklearn", "pandas", "matplotlib", "onnx") if m in sys.modules]
print(json.dumps([same, heavy, skipped]))
""",
    )
    assert done.status == 0, done.err
    assert 'MultiScaleDeformableAttention' not in done.err
    same, heavy, skipped = json.loads(done.out.splitlines()[-1])
    assert same and not heavy and not skipped


def test_without_mmcv_the_import_says_what_to_install(monkeypatch):
    find_spec = compat.importlib.util.find_spec
    monkeypatch.setattr(compat.importlib.util, 'find_spec', lambda name: None if name == 'mmcv' else find_spec(name))
    with pytest.raises(ImportError, match=r'pip install "mmdensenet\[lite\]"'):
        compat._require_mmcv()


@pytest.mark.parametrize('version', ['2.5.1', '1.13.0+cu117'])
def test_old_torch_is_refused(monkeypatch, version):
    monkeypatch.setattr(torch, '__version__', version)
    with pytest.raises(ImportError, match=r'needs torch >= 2\.6'):
        compat._require_torch()


@pytest.mark.parametrize('version', ['2.6.0', '2.13.0+cpu', '3.0.0a0'])
def test_new_torch_is_accepted(monkeypatch, version):
    monkeypatch.setattr(torch, '__version__', version)
    compat._require_torch()


def test_a_repair_whose_target_is_gone_is_left_out(run_command):
    """As with a later mmengine that has renamed what we replace: mmdensenet is imported, with one line for each."""
    done = run_command(
        sys.executable,
        '-c',
        """
import logging
logging.basicConfig(level=logging.INFO, format='%(message)s')  # what is repaired elsewhere is no warning
import mmengine.runner.checkpoint as checkpoint, mmengine.runner.runner as runner, mmengine.runner.loops as loops
import mmengine.config.utils, mmengine.dist.utils, mmengine.fileio.handlers.yaml_handler as yaml_handler
import mmengine.utils.package_utils as package_utils
from mmengine.config import Config
from mmengine.hooks import CheckpointHook
del package_utils.is_installed, mmengine.config.utils._get_package_and_cfg_path, yaml_handler.Loader
del checkpoint.CheckpointLoader._get_checkpoint_loader, checkpoint.save_checkpoint, checkpoint.find_latest_checkpoint
del runner._load_checkpoint_to_model, CheckpointHook._save_best_checkpoint, loops._InfiniteDataloaderIterator
del mmengine.dist.utils._init_dist_mpi, mmengine.optim.AmpOptimWrapper.__init__
from mmengine.optim import AmpOptimWrapper
import mmdensenet
mmdensenet.models.DenseNet(arch=dict(growth_rate=4, depths=(1,), init_channels=8))
print([entry.state for entry in mmdensenet.compat.FAULTS].count('skipped'))
""",
    )
    assert done.status == 0, done.err
    lines = [line for line in done.err.splitlines() if 'leaves out' in line]
    # Which others a foundation has repaired itself is its own affair, such as the OneDL forks' copies of subsets.
    gone = [line for line in lines if line.endswith('is not there in this version)')]
    assert len(lines) == int(done.out.split()[-1]), done.err
    assert len(gone) == 10, done.err
    assert 'mmdensenet.compat leaves out resume_from_whole_checkpoints (' in done.err
    assert 'mmengine.runner.checkpoint:find_latest_checkpoint is not there' in done.err
    assert 'allow_amp_on_cpu (this version has repaired it)' in done.err
