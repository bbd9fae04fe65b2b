"""Each row of the table of faults: what broke works, and nothing else changes."""

import inspect
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import CONFIGS, ROOT
from mmengine.config import Config
from mmengine.registry import MODELS, Registry
from PIL import Image

from mmdensenet import compat


def test_every_fault_says_what_where_and_until_when():
    assert len(compat.FAULTS) >= 10
    for entry in compat.FAULTS:
        assert len(entry.what) > 30 and entry.versions and entry.until


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
import mmpretrain, torchvision.transforms.v2
from mmpretrain.models import build_classifier
from mmengine.hub import get_config
assert get_config("mmdensenet::densenet121_4xb256_in1k").model.backbone.arch == "121"
print(json.dumps([same, heavy]))
""",
    )
    assert done.status == 0, done.err
    assert json.loads(done.out.splitlines()[-1]) == [True, []]


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


def test_installed_packages_are_found_without_pkg_resources():
    from mmengine.utils import get_installed_path, is_installed

    assert is_installed('mmpretrain') and is_installed('mmcv-lite') and is_installed('scikit-learn')
    assert not is_installed('no-such-package')
    assert get_installed_path('scikit-learn').endswith('sklearn')
    assert get_installed_path('mmcv-lite').endswith('mmcv')
    assert get_installed_path('mmdensenet') == str(ROOT / 'mmdensenet')
    with pytest.raises(ModuleNotFoundError, match='no-such-package'):
        get_installed_path('no-such-package')


@pytest.mark.parametrize('setting', ["default_scope = 'mmpretrain'", "default_scope = 'mydet'", ''])
def test_inherited_by_package_name(tmp_path, setting):
    """The inherited parts build whatever the scope of the inheriting config is."""
    file = tmp_path / 'mine.py'
    file.write_text(
        f"_base_ = 'mmdensenet::densenet121_4xb256_in1k.py'\nmodel = dict(head=dict(num_classes=7))\n{setting}\n"
    )
    cfg = Config.fromfile(file)
    assert cfg.model.head.num_classes == 7
    from mmpretrain.registry import DATASETS, METRICS

    if setting:
        from mmengine.registry import DefaultScope

        DefaultScope.get_instance(f'test-{setting}', scope_name=cfg.default_scope)
    model = MODELS.build(cfg.model)
    assert model.head.fc.out_features == 7
    assert type(model.backbone).__module__ == 'mmdensenet.models.densenet'
    METRICS.build(cfg.val_evaluator)
    dataset = DATASETS.build({**cfg.train_dataloader.dataset, 'lazy_init': True, 'data_root': '', 'pipeline': []})
    assert type(dataset).__name__ == 'ImageNet'


def test_inherited_by_relative_path_without_import(tmp_path, run_command):
    (tmp_path / 'configs').symlink_to(CONFIGS)
    file = tmp_path / 'mine.py'
    file.write_text("_base_ = './configs/densenet121_4xb256_in1k.py'\nmodel = dict(head=dict(num_classes=7))\n")
    done = run_command(
        sys.executable,
        '-c',
        f"""
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
cfg = Config.fromfile({str(file)!r})
init_default_scope(cfg.default_scope)
print(MODELS.build(cfg.model).head.fc.out_features)
""",
    )
    assert done.out.split()[-1:] == ['7'], done.err


def test_other_packages_configs_are_found_as_before():
    from mmengine.hub import get_config

    assert get_config('mmpretrain::resnet/resnet18_8xb32_in1k.py').model.backbone.depth == 18
    with pytest.raises(ValueError, match='relative config path'):
        get_config('mmpretrain::resnet18.py')


@pytest.mark.parametrize('name', ['densenet121_4xb256_in1k.py', 'densenet121_4xb256_in1k'])
def test_hub(name):
    from mmengine.hub import get_config, get_model
    from mmengine.registry import DefaultScope

    cfg = get_config(f'mmdensenet::{name}', pretrained=True)
    assert cfg.model.backbone.arch == '121'
    assert cfg.model_path.startswith('https://download.openmmlab.com/')
    before = DefaultScope.get_current_instance()
    assert type(get_model(f'mmdensenet::{name}')).__name__ == 'ImageClassifier'
    assert DefaultScope.get_current_instance() is before


@pytest.mark.parametrize('scope', ['mmpretrain', 'mydet'])
def test_backbone_in_configs_of_other_scopes(scope):
    if scope == 'mydet':  # stands in for mmdet, which needs the full mmcv
        theirs = MODELS.children.get('mydet') or Registry('model', parent=MODELS, scope='mydet')

        @theirs.register_module(force=True)
        class Detector(torch.nn.Module):
            def __init__(self, backbone):
                super().__init__()
                self.backbone = theirs.build(backbone)

        model = theirs.build(
            dict(type='mydet.Detector', backbone=dict(type='mmdensenet.DenseNet', out_indices=(0, 1, 2, 3)))
        )
    else:
        import mmpretrain.registry

        model = mmpretrain.registry.MODELS.build(
            dict(
                type='ImageClassifier',
                backbone=dict(type='mmdensenet.DenseNet', out_indices=(0, 1, 2, 3)),
                neck=dict(type='GlobalAveragePooling'),
                head=dict(type='LinearClsHead', num_classes=3, in_channels=1024),
            )
        )
    outs = model.backbone(torch.randn(1, 3, 64, 64))
    assert [out.shape[1] for out in outs] == [128, 256, 512, 1024]


def test_modules_are_repaired_when_they_are_imported(tmp_path, monkeypatch):
    (tmp_path / 'fault_a.py').write_text('value = 1\n')
    (tmp_path / 'fault_b.py').write_text('value = 1\n')
    monkeypatch.syspath_prepend(tmp_path)

    def repair(module):
        module.value += 1

    compat._when_imported('fault_a', repair)
    import fault_a

    assert fault_a.value == 2
    import fault_b

    compat._when_imported('fault_b', repair)
    assert fault_b.value == 2
    compat._when_imported('no_such_fault', repair)
    with pytest.raises(ModuleNotFoundError):
        import no_such_fault  # noqa: F401


def test_loops_by_iterations_start_to_read_when_they_run():
    from mmengine.runner.loops import _InfiniteDataloaderIterator

    class Loader:
        batches = (1, 2)

        def __iter__(self):
            return iter(self.batches)

    loader = Loader()
    iterator = _InfiniteDataloaderIterator(loader)
    loader.batches = (3, 4)  # as a hook does
    assert [next(iterator), next(iterator)] == [3, 4]


def test_tsne_takes_n_iter():
    manifold = pytest.importorskip('sklearn.manifold')
    assert manifold.TSNE(n_iter=321).max_iter == 321
    assert manifold.TSNE(max_iter=300).get_params()['max_iter'] == 300


def test_grad_cam_takes_use_cuda():
    cam = pytest.importorskip('pytorch_grad_cam')
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    for method in (cam.GradCAM, cam.GradCAMPlusPlus, cam.EigenCAM, cam.ScoreCAM):
        made = method(model=model, target_layers=[model[0]], use_cuda=False)
        assert made(torch.rand(1, 3, 8, 8), targets=None).shape == (1, 8, 8)


def test_adjust_bbox_without_renderer():
    from matplotlib import _tight_bbox, transforms
    from matplotlib.figure import Figure

    figure = Figure()
    figure.add_subplot()
    restore = _tight_bbox.adjust_bbox(figure, transforms.Bbox([[0, 0], [1, 1]]))
    restore()
    assert 'fixed_dpi' in inspect.signature(_tight_bbox.adjust_bbox).parameters


@pytest.mark.slow
@pytest.mark.parametrize('script', ['browse_dataset', 'vis_cam', 'vis_tsne'])
def test_mmpretrains_scripts_run(run_command, tmp_path, short_config, script):
    """Through a launcher that imports mmdensenet first, as docs/inherit.md shows."""
    from mmengine.utils import get_installed_path
    from mmpretrain.registry import MODELS as THEIRS

    pytest.importorskip('pkg_resources', reason='vis_cam.py imports it itself')
    pytest.importorskip('pytorch_grad_cam')
    config = short_config()
    model = THEIRS.build(Config.fromfile(config).model)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'c.pth')
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / 'i.png')
    load = "[dict(type='LoadImageFromFile', color_type='grayscale'), dict(type='PackInputs')]"
    with config.open('a') as file:
        file.write(f"test_dataloader['dataset']['pipeline'] = {load}\n")
    arguments = dict(
        browse_dataset=[short_config(name='b.py'), '-o', tmp_path / 'out', '-n', '2', '--not-show'],
        vis_cam=[tmp_path / 'i.png', config, tmp_path / 'c.pth', '--save-path', tmp_path / 'out.png'],
        vis_tsne=[short_config(name='t.py'), '--checkpoint', tmp_path / 'c.pth', '--work-dir', tmp_path / 'out',
                  '--max-num-samples', '5', '--n-iter', '260', '--perplexity', '5'],
    )[script]  # fmt: skip
    launcher = (
        'import sys, runpy, mmdensenet; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name="__main__")'
    )
    folder = Path(get_installed_path('mmpretrain'), '.mim', 'tools', 'visualization')
    done = run_command(sys.executable, '-c', launcher, folder / f'{script}.py', *arguments)
    assert done.status == 0, done.err
    assert list(tmp_path.glob('out*'))
