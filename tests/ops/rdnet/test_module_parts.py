"""Modules as they were, computed with other tensors."""

import torch

from mmdensenet.ops.rdnet.module_parts import are_biases, leaf_of, parameters_of, parts_of, tensors_of, with_tensors
from mmdensenet.ops.rdnet.rdnet_stage import block_channels


def test_the_same_modules_with_other_tensors(stage):
    block = stage.eval().blocks[2]
    tensors = list(parameters_of(block))
    assert len(tensors) == len(list(block.parameters())) == 11
    parts = [parts_of(block)]
    x = torch.randn(2, block.dwconv.in_channels, 4, 4, dtype=torch.float64)
    [same] = with_tensors(parts, tensors)
    assert torch.equal(block_channels(x, same, None), block_channels(x, block, None))
    [other] = with_tensors(parts, [torch.zeros_like(tensor) for tensor in tensors])
    assert not block_channels(x, other, None).any() and block.gamma.any()
    assert {id(tensor) for tensor in tensors_of(same)} == {id(tensor) for tensor in tensors}
    assert sum(are_biases(parts)) == 4, 'of dwconv, pwconv1, pwconv2 and eSE, not of the norm'
    block.pwconv1.padding = (1, 1)  # what is changed afterwards is not seen
    assert same.pwconv1.padding == (0, 0)


def test_a_leaf_shares_values_and_not_the_graph(stage):
    parameter = stage.blocks[0].gamma
    leaf = leaf_of(parameter, parameter)
    assert leaf.is_leaf and leaf.requires_grad and leaf.data_ptr() == parameter.data_ptr()
    assert not leaf_of(parameter, parameter.detach()).requires_grad
