"""Small folded networks in which a quantisation meets everything."""

from types import SimpleNamespace

import torch
from helpers import randomise
from torch import nn

from mmdensenet.export.fold import FoldedDenseNet
from mmdensenet.models import DenseNet


class Features(nn.Module):
    """What is exported of a classifier, with the mean of each feature as its scores."""

    def __init__(self, backbone: FoldedDenseNet, channels: int):
        super().__init__()
        self.backbone, self.multi_label = backbone, True
        self.head = SimpleNamespace(fc=nn.Linear(channels, channels))
        self.head.fc.weight.data.copy_(torch.eye(channels))
        self.head.fc.bias.data.zero_()

    def forward(self, x):
        return self.backbone(x)[0].mean((2, 3))


def network(**changed) -> FoldedDenseNet:
    """With gammas of both signs, and channels that are always and never 0."""
    torch.manual_seed(0)
    arch = dict(growth_rate=8, depths=(3, 3), init_channels=16)
    net = randomise(DenseNet(**dict(arch=arch, stem='cifar') | changed))
    images = torch.randn(16, 3, 16, 16)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
            module.reset_running_stats()
            module.weight.data.normal_(0.5, 0.5)
            module.bias.data.normal_(0, 0.5)
            module.bias.data[:2] = torch.tensor([-9.0, 9.0])
            module.weight.data[2] = 0
    net.train()(images)
    return FoldedDenseNet(net.eval())
