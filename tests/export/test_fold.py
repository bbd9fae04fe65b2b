"""The folded inference graph is the same function."""

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
