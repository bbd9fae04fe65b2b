"""Networks of every kind that a folded inference graph is made of."""

import torch
from helpers import assert_equal, assert_same, randomise

from mmdensenet.export.fold import FoldedDenseNet
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
    """Return the network in double precision and evaluation mode."""
    return randomise(DenseNet(**{'arch': ARCH, **KINDS[kind]}).double().eval())


def check_same_function(kind: str, change=lambda folded: folded) -> None:
    """``change`` leaves the folded graph the same function, and the network as it was."""
    net = network(kind)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    folded = change(FoldedDenseNet(net).eval())
    images = torch.randn(2, net.stem[0].in_channels, 37, 50, dtype=torch.double)
    assert_same(folded(images)[0], net(images)[0], 1e-10)
    assert_equal(dict(net.state_dict()), before, 'the network itself is not changed: ')
