"""A block with both engines, and random numbers."""

import torch
from helpers import randomise
from torch import nn

from mmdensenet.models import DenseBlock


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


SHAPES = [(2, 5, 6, 6), (1, 5, 7, 3), (3, 5, 1, 2), (2, 5, 9, 11)]


def pair(**kwargs):
    """The same block twice: reference and fused, with random weights, some gammas negative."""
    settings = dict(num_layers=3, in_channels=5, bn_size=2, growth_rate=4) | kwargs
    reference = randomise(DenseBlock(**settings | dict(engine='reference')).double())
    fused_block = DenseBlock(**dict(engine='fused') | settings).double()
    fused_block.load_state_dict(reference.state_dict())
    return reference, fused_block


def set_norms(module, training):
    """Put the batch norms into training or evaluation mode; return the module."""
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.train(training)
    return module


def saved_bytes(block, x):
    """Of all memory that autograd keeps for the backward of ``block(x)``."""
    storages = {}

    def pack(tensor):
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        block(x)
    return sum(storage.nbytes() for storage in storages.values())
