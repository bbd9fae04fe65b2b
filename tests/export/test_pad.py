"""Channels in multiples of eight: the same function."""

import pytest
from foldable_networks import KINDS, check_same_function, network
from torch import nn

from mmdensenet.export.fold import FoldedDenseNet
from mmdensenet.export.pad import pad_channels


@pytest.mark.parametrize('kind', KINDS)
def test_the_same_function(kind):
    check_same_function(kind, pad_channels)


def test_padded_concatenations_are_multiples_of_eight():
    folded = pad_channels(FoldedDenseNet(network('odd channels')), 8)
    convolutions = [module for module in folded.modules() if isinstance(module, nn.Conv2d)]
    assert {layer.conv1.in_channels % 8 for block in folded.blocks for layer in block} == {0}
    assert {conv.out_channels % 8 for conv in convolutions if conv.kernel_size == (3, 3)} == {0}
