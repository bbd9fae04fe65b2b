"""The folded inference graph is the same function."""

import pytest
import torch
from helpers import assert_same, count_multiply_adds, randomise
from torch import nn

from mmdensenet.export.fold import FoldedDenseNet, why_not_foldable
from mmdensenet.export.group import group_concatenations
from mmdensenet.export.pad import pad_channels
from mmdensenet.models import DenseNet

ARCH = dict(growth_rate=4, depths=(2, 1, 3), init_channels=8)
KINDS = {
    'bottleneck': dict(),
    'plain': dict(bottleneck=False),
    'cifar stem': dict(stem='cifar'),
    'deep stem': dict(stem='deep'),
    'deep stem, blur': dict(stem='deep', stem_blur=True),
    'blur': dict(stem_blur=True),
    'plain cifar': dict(bottleneck=False, stem='cifar', compression_factor=1.0),
    'one channel': dict(in_channels=1),
    'odd channels': dict(arch=dict(growth_rate=5, depths=(2, 2), init_channels=6), compression_factor=0.4),
    'dropout': dict(drop_rate=0.5),
    'no affine': dict(norm_cfg=dict(type='BN', affine=False)),
    'channels last': dict(channels_last=True, engine='reference'),
}


def network(kind: str) -> DenseNet:
    return randomise(DenseNet(**{'arch': ARCH, **KINDS[kind]}).double().eval())


@pytest.mark.parametrize('changed', ['folded', 'padded', 'padded and grouped'])
@pytest.mark.parametrize('kind', KINDS)
def test_the_same_function(kind, changed):
    net = network(kind)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    folded = FoldedDenseNet(net).eval()
    if 'padded' in changed:
        pad_channels(folded, 8)
    if 'grouped' in changed:
        group_concatenations(folded, 2)
    images = torch.randn(2, net.stem[0].in_channels, 37, 50, dtype=torch.double)
    assert_same(folded(images)[0], net(images)[0], 1e-10)
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name]), 'the network itself is not changed'


def test_padded_concatenations_are_multiples_of_eight():
    folded = pad_channels(FoldedDenseNet(network('odd channels')), 8)
    convolutions = [module for module in folded.modules() if isinstance(module, nn.Conv2d)]
    assert {layer.conv1.in_channels % 8 for block in folded.blocks for layer in block} == {0}
    assert {conv.out_channels % 8 for conv in convolutions if conv.kernel_size == (3, 3)} == {0}


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
    ],
)
def test_what_cannot_be_folded_says_why(change, reason):
    net = DenseNet(arch=ARCH, **change)
    assert reason in why_not_foldable(net)
    with pytest.raises(ValueError, match=reason):
        FoldedDenseNet(net)


def test_mmpretrains_densenet_folds_too():
    from mmpretrain.models import DenseNet as Theirs

    theirs = randomise(Theirs(arch=ARCH).double())
    theirs.eval()
    images = torch.randn(2, 3, 64, 64, dtype=torch.double)
    assert_same(FoldedDenseNet(theirs)(images)[0], theirs(images)[0], 1e-10)
    assert why_not_foldable(nn.Linear(1, 1)) == 'Linear is no DenseNet'
