"""Settings of single parameters that mmengine leaves out silently are refused or named before the first step."""

import pytest
from torch import nn

from mmdensenet.errors import UserError
from mmdensenet.training.hooks.check_optimizer import require_optimizer

MODEL = nn.ModuleDict(dict(backbone=nn.ModuleDict(dict(stem=nn.Conv2d(1, 1, 1))), head=nn.Linear(1, 1)))
LAYERS = 'LearningRateDecayOptimWrapperConstructor'


def check(paramwise=None, **more):
    return require_optimizer(dict(optimizer=dict(type='SGD', lr=0.1), paramwise_cfg=paramwise, **more), MODEL)


@pytest.mark.parametrize(
    ('paramwise', 'more', 'message'),
    [
        (dict(norm_decay_mul=0.0), {}, "there is no 'norm_decay_mul', and nothing .* Did you mean norm_decay_mult"),
        (dict(norm_decay_mult='0'), {}, "norm_decay_mult='0' is no number"),
        (dict(layer_decay_rate=0.5), {}, "there is no 'layer_decay_rate'"),
        (
            dict(custom_keys={'head': {}, 'backbon.stem': dict(lr_mult=0.1)}),
            {},
            "'backbon.stem' is .* Did you mean backbone.stem",
        ),
        (dict(custom_keys={'head.weigth': {}}), {}, "'head.weigth' is in no name .* Did you mean head.weight"),
        (dict(layer_decay_rat=0.5), dict(constructor=LAYERS), 'Did you mean layer_decay_rate'),
        (dict(bias_lr_mul=2), dict(constructor='mmengine.DefaultOptimWrapperConstructor'), 'Did you mean bias_lr_mult'),
        (dict(custom_keys={'head': dict(lr_mul=0.1)}), {}, "'head'.* has no 'lr_mul', .* Did you mean lr_mult"),
        (dict(custom_keys={'head': dict(params=1)}), {}, "'head'.* has no 'params'"),
        (dict(custom_keys={'head': dict(lr_mult='0.1')}), {}, "lr_mult='0.1' is no number"),
        (dict(custom_keys={'head': 0.1}), {}, r'is 0.1: give a dict'),
        (None, dict(clip_grad=dict(max_nrom=1)), "there is no 'max_nrom'. Did you mean max_norm"),
        (None, dict(clip_grad=dict(type='value', max_norm=1)), "there is no 'max_norm'. It takes clip_value"),
        (None, dict(accumulative_counts=2.5), 'accumulative_counts=2.5: give a whole number'),
        (None, dict(accumulative_counts=0), 'accumulative_counts=0: give a whole number'),
    ],
)
def test_what_would_be_left_out(paramwise, more, message):
    with pytest.raises(UserError, match=message):
        check(paramwise, **more)


def test_what_fits_passes():
    assert (
        check(
            dict(custom_keys={'backbone': dict(lr_mult=0.1, lr=0.2, momentum=0.5), 'stem.weight': dict(decay_mult=0)})
        )
        == []
    )
    for constructor in (LAYERS, f'mmpretrain.{LAYERS}'):
        assert check(dict(layer_decay_rate=0.5), constructor=constructor) == []
    assert check(dict(anything=1), constructor='OfMyOwn') == []
    assert check(clip_grad=dict(max_norm=1), accumulative_counts=2) == []
    assert require_optimizer(dict(generator=dict(), discriminator=dict()), MODEL) == []
    assert require_optimizer(None, MODEL) == []


def test_keys_of_other_models_are_named():
    """Schedules that several models share have them."""
    shared = dict(custom_keys={'.absolute_pos_embed': dict(decay_mult=0.0), 'head': dict(lr_mult=10)})
    assert check(shared) == ['.absolute_pos_embed']
