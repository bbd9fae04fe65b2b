"""Fewer concatenations: the same function."""

import pytest
from foldable_networks import KINDS, check_same_function, network

from mmdensenet.export.fold import FoldedDenseNet
from mmdensenet.export.group import GroupedBlock, SplitLayer, group_concatenations
from mmdensenet.export.pad import pad_channels


@pytest.mark.parametrize('kind', KINDS)
def test_the_same_function_of_padded_networks(kind):
    check_same_function(kind, lambda folded: group_concatenations(pad_channels(folded), 2))


def test_layers_between_concatenations_read_two_parts():
    blocks = group_concatenations(FoldedDenseNet(network('bottleneck')), 2).blocks
    assert [[isinstance(layer, SplitLayer) for layer in block.layers] for block in blocks] == [
        [False, True],
        [False],
        [False, True, False],
    ]
    plain = group_concatenations(FoldedDenseNet(network('plain')), 2).blocks
    assert not any(isinstance(block, GroupedBlock) for block in plain)
