"""Which parameters are trained, and with which learning rate."""

import pytest
import torch
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS

from mmdensenet.models import RDNet
from mmdensenet.models.densenet import DenseNet

SMALL = dict(arch=dict(growth_rate=4, depths=(1, 1, 2), init_channels=8))


def trained(net: torch.nn.Module) -> set[str]:
    """First parts of the names of parameters that are trained; a stage's with its number."""
    return {
        '.'.join(name.split('.')[: 1 if name.startswith('stem') else 2])
        for name, parameter in net.named_parameters()
        if parameter.requires_grad
    }


@pytest.mark.parametrize(
    ('settings', 'frozen'),
    [
        (dict(), ()),
        (dict(frozen_stages=-1), ()),
        (dict(freeze_stem=True), ('stem',)),
        (dict(freeze_stem=True, frozen_stages=-1), ('stem',)),
        (dict(frozen_stages=1), ('stem', 'stages.0', 'transitions.0')),
        (dict(frozen_stages=2, freeze_stem=True), ('stem', 'stages.0', 'transitions.0', 'stages.1', 'transitions.1')),
    ],
)
def test_frozen(settings, frozen):
    net = DenseNet(**SMALL, **settings).train()
    everything = {'stem', *(f'{part}.{i}' for part in ('stages', 'transitions') for i in range(3))}
    assert trained(net) == everything - set(frozen)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    net(torch.randn(2, 3, 32, 32))[0].sum().backward()
    changed = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert bool(frozen) == (not any(name.startswith('stem') for name in changed)), 'running statistics too'


@pytest.mark.parametrize('number', [-2, 4])
def test_what_there_is_not(number):
    message = r'^frozen_stages=-?\d: there are only \d (stages|levels); 0 and -1 freeze nothing, and freeze_stem=True'
    with pytest.raises(ValueError, match=message):
        DenseNet(**SMALL, frozen_stages=number)
    with pytest.raises(ValueError, match=message):
        RDNet(frozen_stages=number + number // 4)


def test_rdnets_stem_alone():
    arch = dict(init_channels=8, growth_rates=(8, 8), depths=(1, 1), downsample=(1,))
    net = RDNet(arch, freeze_stem=True).train()
    assert {name.split('.')[0] for name in trained(net)} == {'stages'} and not net.stem.training


def rates(backbone: dict, decay: float = 0.5) -> dict[str, float]:
    """The learning rate of each parameter of a classifier, at a base rate of 1."""
    from mmengine.optim import build_optim_wrapper

    init_default_scope('mmpretrain')
    head = dict(type='LinearClsHead', num_classes=2, in_channels=4)
    model = MODELS.build(dict(type='ImageClassifier', backbone=backbone, head=head))
    wrapper = build_optim_wrapper(
        model,
        dict(
            optimizer=dict(type='SGD', lr=1.0, weight_decay=0.1),
            constructor='LearningRateDecayOptimWrapperConstructor',
            paramwise_cfg=dict(layer_decay_rate=decay),
        ),
    )
    return {group['param_name']: group['lr'] for group in wrapper.optimizer.param_groups}


def test_layer_wise_decay_of_the_learning_rate():
    """mmpretrain's constructor; the head has the base rate, each stage before it half as much as the one behind it."""
    found = rates(dict(type='mmdensenet.DenseNet', **SMALL))
    wanted = {'stem': 1 / 16, 'stages.0': 1 / 8, 'stages.1': 1 / 4, 'stages.2': 1 / 2}
    wanted |= {f'transitions.{i}': wanted[f'stages.{i}'] for i in range(3)}
    for name, rate in found.items():
        part = name.removeprefix('backbone.')
        key = 'stem' if part.startswith('stem') else '.'.join(part.split('.')[:2])
        assert rate == (1.0 if name.startswith('head') else wanted[key]), name
    assert len(found) == len(list(DenseNet(**SMALL).parameters())) + 2


def test_layer_wise_decay_of_rdnet():
    """Four levels of 7 stages: 1, 1, 4 and 1 of them."""
    found = rates(dict(type='mmdensenet.RDNet', arch='tiny'))
    levels = [1, 2, 3, 3, 3, 3, 4]
    for name, rate in found.items():
        parts = name.split('.')
        depth = 5 if parts[0] == 'head' else levels[int(parts[2])] if parts[1] == 'stages' else 0
        assert rate == 0.5 ** (5 - depth), name
