"""The folded inference graph is the same function."""

import re

import pytest
import torch
from foldable_networks import ARCH, KINDS, check_same_function, network
from helpers import assert_same, count_multiply_adds, randomise
from torch import nn

from mmdensenet.export.fold import FoldedDenseNet, why_not_foldable
from mmdensenet.models import DenseNet


@pytest.mark.parametrize('kind', KINDS)
def test_the_same_function(kind):
    check_same_function(kind)


def test_norms_that_fold_are_gone_and_the_transition_has_a_quarter():
    net = network('bottleneck')
    folded = FoldedDenseNet(net)
    assert not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in folded.modules())
    before, after = (count_multiply_adds(n.float(), (3, 64, 64)) for n in (net, folded))
    first, second = (t.conv.weight.numel() for t in net.transitions[:2])
    # a transition saves three quarters: of its pixels before pooling, 16x16 and 8x8
    assert before - after == 0.75 * (first * 16 * 16 + second * 8 * 8)


@pytest.mark.parametrize(
    ('change', 'reason'),
    [
        (dict(norm_cfg=dict(type='GN', num_groups=2)), 'GroupNorm, not batch norm'),
        (dict(norm_cfg=dict(type='BN', track_running_stats=False)), 'no running statistics'),
        (dict(act_cfg=dict(type='SiLU')), 'SiLU, not ReLU'),
        (dict(out_indices=(0, 1)), r'out_indices=\(0, 1\) end before the last stage'),
        (dict(out_indices=1, out_before_transition=True), 'end before the last stage'),
    ],
)
def test_what_cannot_be_folded_says_why(change, reason):
    net = DenseNet(arch=ARCH, **change)
    assert re.search(reason, why_not_foldable(net))
    with pytest.raises(ValueError, match=reason):
        FoldedDenseNet(net)


class Scaled(DenseNet):
    def forward(self, x):
        return tuple(2 * features for features in super().forward(x))


class ScaledStem(DenseNet):
    def _stem(self, x):
        features, contiguous = super()._stem(x)
        return 2 * features, contiguous


class OfTwenty(DenseNet):
    """Other defaults, and nothing else."""

    def __init__(self):
        super().__init__(arch=ARCH, in_channels=20)


def replaced(place: str, module: nn.Module) -> DenseNet:
    net = DenseNet(arch=ARCH)
    net.set_submodule(place, module)
    return net


@pytest.mark.parametrize(
    ('network', 'reason'),
    [
        (lambda: Scaled(arch=ARCH), 'Scaled has a forward of its own'),
        (lambda: ScaledStem(arch=ARCH), 'ScaledStem has a forward of its own'),
        (lambda: replaced('stem.3', nn.Identity()), 'stem.3 is Identity, which is no part of DenseNet'),
        (lambda: replaced('stem.3', nn.AvgPool2d(3, 2, 1)), 'stem has other modules than those of DenseNet'),
        (lambda: replaced('stem.3', nn.MaxPool2d(2)), 'stem has other modules than those of DenseNet'),
        (lambda: replaced('stem.1', nn.GroupNorm(2, 8)), 'stem.1 is GroupNorm, not batch norm'),
        (lambda: replaced('transitions.0.pool', nn.MaxPool2d(2)), 'transitions.0 has other modules'),
        (lambda: replaced('transitions.0.pool', nn.AvgPool2d(2, ceil_mode=True)), 'transitions.0 has other modules'),
        (lambda: replaced('transitions.0.conv', nn.Conv2d(16, 8, 3, padding=1)), 'transitions.0 has other modules'),
        (lambda: replaced('transitions.2.1', nn.Sequential()), 'transitions.2 has other modules'),
        (
            lambda: replaced('stages.0.block.0.conv2', nn.Conv2d(16, 4, 3, padding=1, groups=2)),
            'conv2 has groups, or does not pad with zeros',
        ),
        (
            lambda: replaced('stages.0.block.0.conv2', nn.Conv2d(16, 4, 3, padding=1, padding_mode='reflect')),
            'conv2 has groups, or does not pad with zeros',
        ),
    ],
)
def test_a_network_that_computes_something_else_is_not_folded(network, reason):
    assert reason in why_not_foldable(network())


def test_a_subclass_with_other_defaults_is_folded():
    assert why_not_foldable(OfTwenty()) is None


def test_mmpretrains_densenet_folds_too():
    from mmpretrain.models import DenseNet as Theirs

    theirs = randomise(Theirs(arch=ARCH).double())
    theirs.eval()
    images = torch.randn(2, 3, 64, 64, dtype=torch.double)
    assert_same(FoldedDenseNet(theirs)(images)[0], theirs(images)[0], 1e-10)
    assert why_not_foldable(nn.Linear(1, 1)) == 'Linear is no DenseNet'
