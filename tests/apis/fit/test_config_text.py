"""The config that is written: what it says, and that it is short."""

import numpy as np
import pytest
from looks import look_of, written

from mmdensenet.apis.fit.config_text import as_call


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


def test_several_labels(tmp_path, monkeypatch):
    cfg, _ = written(tmp_path, monkeypatch, look_of(np.zeros((404, 2), np.float32), ['edema', 'mass'], size=[100, 90]))
    assert cfg.model.head.type == 'MultiLabelLinearClsHead'
    assert cfg.train_dataloader.dataset.label_columns == ['edema', 'mass']
    assert cfg.train_dataloader.dataset.missing == 'ignore'
    assert cfg.label_policies == dict(missing='negative'), 'in the table that samples.csv is made of'
    assert cfg.default_hooks.checkpoint.save_best == 'auroc/macro'
    assert cfg.test_pipeline[1].scale == (88, 88)


def test_the_network_that_was_asked_for(tmp_path, monkeypatch):
    arch = dict(
        growth_rates=(16,) * 11, downsample=(1, 2, 10), init_channels=16, depths=(1,) * 11, ese=(False,) * 10 + (True,)
    )
    file = tmp_path / 'own.py'
    neck = "dict(type='mmdensenet.NormedAveragePooling', in_channels=32)"
    file.write_text(f"model = dict(backbone=dict(type='mmdensenet.RDNet', arch={arch!r}), neck={neck})\n")
    look = look_of(np.arange(200) % 2, ['a', 'b'])
    cfg, plan = written(tmp_path, monkeypatch, look, network=str(file))
    assert max(map(len, plan.text.splitlines())) <= 120
    assert cfg.model.backbone.to_dict() == dict(type='mmdensenet.RDNet', arch=arch, in_channels=1)
    assert cfg.model.neck.in_channels == cfg.model.head.in_channels == 32
    assert cfg.optim_wrapper.optimizer == dict(type='AdamW', lr=0.000353553, weight_decay=0.05)
    assert cfg.optim_wrapper.paramwise_cfg.norm_decay_mult == 0
    assert f'# {file}: the network that was asked for.\n# Trained anew, as was said.\n# Images of 64 pix' in plan.text
    cfg, _ = written(tmp_path, monkeypatch, look, network='densenet-bc-l22-k12')
    assert cfg.model.backbone.to_dict() == dict(
        type='mmdensenet.DenseNet',
        arch=dict(growth_rate=12, depths=(3, 3, 3), init_channels=24),
        stem='cifar',
        in_channels=1,
    )
    assert cfg.model.head.in_channels == 69 and cfg.optim_wrapper.optimizer.type == 'SGD'


@pytest.mark.parametrize(
    'values', [{}, dict(a=1, b=dict(c=(1, 2))), {'a.b': 1, 'class': 2}, dict(x='y' * 90, z=dict(a='b' * 60))]
)
def test_dicts_are_written_as_calls(values):
    text = as_call(values, 4, 'backbone=,')
    assert eval(text) == values and max(map(len, text.splitlines())) < 120
