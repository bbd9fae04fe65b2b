"""A small stage of RDNet in float64, by both engines."""

import copy

import torch
from helpers import randomise

from mmdensenet.models import RDNetStage

CHANNELS, GROWTH = 8, 16


def make_stage(ese: bool = True, scaled: bool = True) -> RDNetStage:
    stage = RDNetStage(
        CHANNELS,
        GROWTH,
        [0.0, 0.3, 0.5],
        compress=None,
        bottleneck_ratio=4,
        ese=ese,
        layer_scale_init_value=float(scaled),
        engine='fused',
        memory_efficient=False,
    )
    return randomise(stage.double())


def both(stage, x, memory_efficient=False, seed=0):
    """For both stages: result, gradient of the input, and a copy with those of the parameters."""
    found = []
    for engine in ('fused', 'reference'):
        own, leaf = copy.deepcopy(stage), x.clone().requires_grad_()
        own.engine, own.memory_efficient = engine, memory_efficient
        torch.manual_seed(seed)
        out = own(leaf)
        torch.manual_seed(seed + 1)
        out.backward(torch.randn(out.shape, dtype=out.dtype))  # not randn_like, which draws in the order of memory
        found.append((out, leaf.grad, own))
    return found
