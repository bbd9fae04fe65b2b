"""A small config whose costs are known by hand."""

import yaml
from conftest import CONFIGS
from mmengine.config import Config


def small(**backbone) -> Config:
    """Two blocks of two layers, k = 4, b = 16, from 8 channels; images of 16x16 in the tests."""
    arch = dict(growth_rate=4, depths=(2, 2), init_channels=8)
    model = dict(
        type='ImageClassifier',
        backbone=dict(type='mmdensenet.DenseNet', **dict(arch=arch, stem='cifar') | backbone),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', num_classes=3, in_channels=16),
    )
    return Config(dict(model=model, default_scope='mmpretrain'))


ROWS = {row['Name']: row for row in yaml.safe_load((CONFIGS / 'metafile.yml').read_text())['Models']}
