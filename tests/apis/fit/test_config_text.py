"""The config that is written: what it says, and that it is short."""

import numpy as np
from looks import look_of, written


def test_one_class_per_image(tmp_path, monkeypatch):
    targets = np.array([0] * 80 + [1] * 10 + [2] * 34)
    cfg, plan = written(tmp_path, monkeypatch, look_of(targets, ['a', 'b', 'c']))
    assert cfg.default_hooks.checkpoint.save_best == 'single-label/recall'
    assert cfg.train_dataloader.dataset.classes == ['a', 'b', 'c']
    assert cfg.train_dataloader.dataset.split == 'train'
    assert cfg.test_pipeline[1] == dict(type='Resize', scale=(64, 64)), 'an image to predict may have any size'
    assert 'Resize' not in str(cfg.train_pipeline)
    assert 'custom_hooks' not in cfg
    assert 'label_policies' not in cfg
    assert len(plan.text.splitlines()) < 130
    assert max(map(len, plan.text.splitlines())) <= 120


def test_several_labels_of_large_images(tmp_path, monkeypatch):
    cfg, _ = written(tmp_path, monkeypatch, look_of(np.zeros((404, 2), np.float32), ['edema', 'mass'], size=[300, 260]))
    assert cfg.model.head.type == 'MultiLabelLinearClsHead'
    assert cfg.train_dataloader.dataset.label_columns == ['edema', 'mass']
    assert cfg.train_dataloader.dataset.missing == 'ignore'
    assert cfg.label_policies == dict(missing='negative'), 'in the table that samples.csv is made of'
    assert cfg.default_hooks.checkpoint.save_best == 'auroc/macro'
    assert cfg.test_pipeline[1].scale == (224, 224)
