"""Recipes, the configs whose schedule is not the paper's: each trains two steps, validates, and is tested."""

import json

import mmcv
import numpy as np
import pytest
import torch
from conftest import CONFIGS, write_images
from mmengine.config import Config

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
        cfg.train_cfg.max_epochs = cfg.train_cfg.val_interval = 1
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
    averaged = checkpoint['state_dict']
    name = next(name for name in averaged if name.endswith('conv1.weight'))
    assert not torch.equal(averaged[name], trained[name].cpu()), 'the average is what is saved'
    assert torch.equal(checkpoint['ema_state_dict'][f'module.{name}'], trained[name].cpu())

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
