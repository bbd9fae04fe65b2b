"""Recipes, the configs whose schedule is not the paper's: each trains two steps of a small model, and is tested.

The models themselves are those of other configs (test_configs.py).
"""

import json

import mmcv
import numpy as np
import pytest
import torch
from conftest import CONFIGS, write_images
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from mmdensenet.apis import Inferencer, get_model
from mmdensenet.apis.test import test_model
from mmdensenet.apis.train import train_model

RECIPES = sorted(CONFIGS.glob('*xb*-*_*.py'))


@pytest.fixture
def on_four_images(tmp_path):
    """A recipe with two steps of two images for its first and only epoch, and otherwise as it is."""

    def read(file):
        cfg = Config.fromfile(file)
        write_images(tmp_path / 'images', classes=2, per_class=2, size=64)
        for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
            loader.batch_size, loader.num_workers = 2, 0
            pipeline = loader.dataset.pipeline
            loader.dataset = dict(type='CustomDataset', data_root=str(tmp_path / 'images'), pipeline=pipeline)
        cfg.model.backbone.arch = dict(growth_rate=4, depths=(1,), init_channels=4)
        cfg.model.head.in_channels = 8
        cfg.train_cfg.max_epochs = cfg.train_cfg.val_interval = 1
        for hook in cfg.get('custom_hooks', ()):
            if 'interval' in hook:
                hook.interval = 1  # there are two steps
        cfg.default_hooks.logger.interval = 1
        return cfg

    return read


@pytest.mark.parametrize('file', RECIPES, ids=lambda file: file.stem)
def test_two_steps_validation_and_test(file, on_four_images, tmp_path):
    cfg = on_four_images(file)
    runner = train_model(cfg, work_dir=str(tmp_path / 'w'))
    assert runner.iter == 2
    trained, saved = runner.model.state_dict(), tmp_path / 'w/epoch_1.pth'
    checkpoint = torch.load(saved, weights_only=True)
    # with EMAHook the average is what is saved as the weights; it begins at the first step's, interval steps at a time
    own = {key.removeprefix('module.'): value for key, value in checkpoint.get('ema_state_dict', {}).items()}
    name = next(name for name in trained if name.endswith('conv1.weight'))
    assert torch.equal((own or checkpoint['state_dict'])[name], trained[name].cpu())
    averages = any(hook['type'] == 'EMAHook' for hook in cfg.get('custom_hooks', ()))
    assert bool(own) == averages
    assert torch.equal(checkpoint['state_dict'][name], trained[name].cpu()) != averages

    scores = {}
    for tta in (False, True):
        out = tmp_path / f'{tta}.json'
        test_model(cfg, str(saved), work_dir=str(tmp_path / 't'), out=str(out), tta=tta)
        scores[tta] = torch.tensor([image['pred_score'] for image in json.loads(out.read_text())])
    inferencer = Inferencer(get_model(cfg, str(saved)))
    images = [mmcv.imread(image) for image in sorted((tmp_path / 'images').rglob('*.jpg'))]
    plain, mirrored = (
        torch.from_numpy(np.stack([one['pred_scores'] for one in inferencer(batch)]))
        for batch in (images, [image[:, ::-1] for image in images])
    )
    torch.testing.assert_close(scores[False], plain, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(scores[True], (plain + mirrored) / 2, rtol=1e-3, atol=1e-5)


def test_images_grow_between_epochs(on_four_images, tmp_path):
    """The switches of the schedule at their epochs, which are made the second and the third."""
    cfg = on_four_images(CONFIGS / 'densenet121_1xb256-16e_in1k.py')
    schedule = cfg.custom_hooks[0].schedule
    assert [switch.action_epoch for switch in schedule] == [8, 13] and cfg.param_scheduler[-1].end == 16
    schedule[0].action_epoch, schedule[1].action_epoch = 2, 3
    cfg.train_cfg.max_epochs, cfg.val_cfg, cfg.val_dataloader, cfg.val_evaluator = 3, None, None, None
    cfg.custom_hooks.append(dict(type='Sides'))
    train_model(cfg, work_dir=str(tmp_path / 'w'))
    assert SIDES == [128, 128, 160, 160, 192, 192]


SIDES = []


@HOOKS.register_module()
class Sides(Hook):
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        SIDES.append(data_batch['inputs'][0].shape[-1])
