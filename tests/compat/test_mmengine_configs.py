"""mmdensenet.compat.mmengine_configs: packages and configs are found, and nothing else changes."""

import sys

import pytest
import torch
from conftest import CONFIGS, ROOT
from mmengine.config import Config
from mmengine.registry import MODELS, Registry

from mmdensenet.compat.mmengine_configs import PACKAGES


def test_installed_packages_are_found_without_pkg_resources():
    from mmengine.utils import get_installed_path, is_installed

    assert is_installed('mmpretrain') and is_installed('mmcv-lite') and is_installed('scikit-learn')
    assert not is_installed('no-such-package')
    if PACKAGES.state == 'applied':  # newer ones find only what has the name of its module, or a top_level.txt
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
