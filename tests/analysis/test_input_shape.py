"""mmdensenet.analysis.input_shape: the last step of a pipeline that sets the size."""

import pytest
from mmengine.config import Config

from mmdensenet.analysis.input_shape import input_shape
from mmdensenet.errors import UserError

PACK = dict(type='PackInputs')


def config(test=None, train=None, **backbone) -> Config:
    cfg = Config(dict(model=dict(backbone=dict(backbone))))
    for name, dataset in (('test', test), ('train', train)):
        if dataset is not None:
            cfg[f'{name}_dataloader'] = dict(dataset=dataset)
    return cfg


def reading(*steps, **options) -> dict:
    return dict(type='CustomDataset', pipeline=[*steps, PACK], **options)


@pytest.mark.parametrize(
    ('steps', 'expected'),
    [
        ([dict(type='ResizeEdge', scale=256), dict(type='CenterCrop', crop_size=224)], (224, 224)),
        ([dict(type='CenterCrop', crop_size=224), dict(type='Resize', scale=(40, 30))], (30, 40)),
        ([dict(type='mmpretrain.CenterCrop', crop_size=(20, 30))], (20, 30)),
        ([dict(type='RandomResizedCrop', scale=96), dict(type='RandomFlip', prob=0.5)], (96, 96)),
    ],
)
def test_of_a_pipeline(steps, expected):
    assert input_shape(config(reading(*steps))) == (3, *expected)


def test_training_pipeline_and_type_of_the_data_set():
    crop = reading(dict(type='RandomResizedCrop', scale=64))
    assert input_shape(config(reading(), crop, in_channels=1)) == (1, 64, 64)
    assert input_shape(config(dict(type='CIFAR10'), crop)) == (3, 32, 32)
    wrapped = dict(type='RepeatDataset', times=2, dataset=dict(type='mmdensenet.Digits'))
    assert input_shape(config(wrapped, in_channels=1)) == (1, 8, 8)


def test_a_given_size_has_precedence():
    cfg = config(reading(dict(type='ResizeEdge', scale=256)))
    assert input_shape(cfg, [50]) == (3, 50, 50) and input_shape(cfg, [50, 60]) == (3, 50, 60)
    with pytest.raises(UserError, match='give `size`, their height and width'):
        input_shape(cfg)
