"""mmdensenet.models.backbone: returned and frozen levels, and layer-wise decay of the learning rate."""

import pytest
import torch
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS

from mmdensenet.models import RDNet
from mmdensenet.models.densenet import DenseNet

SMALL = dict(arch=dict(growth_rate=4, depths=(1, 1, 2), init_channels=8))
LEVELS = dict(init_channels=8, growth_rates=(8, 8), depths=(1, 1), downsample=(1,))


def part(name: str) -> str:
    """'stem', or a stage or transition with its number."""
    return '.'.join(name.split('.')[: 1 if name.startswith('stem') else 2])


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
    net = DenseNet(**SMALL, **settings)
    assert net.train() is net
    before = {name: value.clone() for name, value in net.state_dict().items()}
    net(torch.randn(2, 3, 32, 32))[0].square().mean().backward()
    torch.optim.SGD(net.parameters(), lr=0.1).step()
    changed = {key.rpartition('.')[0] for key, value in net.state_dict().items() if not torch.equal(value, before[key])}
    modules = {key.rpartition('.')[0] for key in before}
    assert changed == {name for name in modules if part(name) not in frozen}, 'running statistics too'


@pytest.mark.parametrize(('net', 'unit'), [(DenseNet, '3 stages'), (RDNet, '2 levels')])
def test_levels_that_do_not_exist(net, unit):
    arch = SMALL['arch'] if net is DenseNet else LEVELS
    for number in (-2, 4):
        message = f'^frozen_stages={number}: there are only {unit}; 0 and -1 freeze nothing, and freeze_stem=True'
        with pytest.raises(ValueError, match=message):
            net(arch, frozen_stages=number)
    for wrong in (3, -4, (0, 7)):
        with pytest.raises(ValueError, match=f'is not one of the {unit}'):
            net(arch, out_indices=wrong)


def test_out_indices():
    indices = [-1, 0]
    assert DenseNet(**SMALL, out_indices=indices).out_indices == (0, 2)
    assert indices == [-1, 0], "the caller's list stays as it is"
    assert DenseNet(**SMALL, out_indices=(-1,)).out_indices == DenseNet(**SMALL, out_indices=-1).out_indices == (2,)


def test_rdnets_stem_alone():
    net = RDNet(LEVELS, freeze_stem=True).train()
    assert all(parameter.requires_grad != name.startswith('stem') for name, parameter in net.named_parameters())
    assert not net.stem.training


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
    """mmpretrain's constructor; the head has the base rate, and each stage half the rate of the next."""
    found = rates(dict(type='mmdensenet.DenseNet', **SMALL))
    wanted = {'stem': 1 / 16, 'stages.0': 1 / 8, 'stages.1': 1 / 4, 'stages.2': 1 / 2}
    wanted |= {f'transitions.{i}': wanted[f'stages.{i}'] for i in range(3)}
    for name, rate in found.items():
        assert rate == (1.0 if name.startswith('head') else wanted[part(name.removeprefix('backbone.'))]), name
    assert len(found) == len(list(DenseNet(**SMALL).parameters())) + 2


def test_layer_wise_decay_of_rdnet():
    """Four levels of 7 stages: 1, 1, 4 and 1 of them."""
    found = rates(dict(type='mmdensenet.RDNet', arch='tiny'))
    levels = [1, 2, 3, 3, 3, 3, 4]
    for name, rate in found.items():
        parts = name.split('.')
        depth = 5 if parts[0] == 'head' else levels[int(parts[2])] if parts[1] == 'stages' else 0
        assert rate == 0.5 ** (5 - depth), name
