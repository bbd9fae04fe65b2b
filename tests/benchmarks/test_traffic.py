"""The traffic model against numbers counted by hand, and the architectures against published counts."""

import pytest
import torch
from helpers import count_multiply_adds

from benchmarks import traffic
from benchmarks.architectures import ARCHITECTURES, Architecture
from mmdensenet.models import DenseNet

#: two layers, k = 2, b = 8, from 3 channels: the layers read C = 3 and C = 5
TINY = dict(in_channels=3, layers=2, growth_rate=2, width=8)


@pytest.mark.parametrize(
    ('kind', 'forward', 'backward'),
    [
        # 8*3 + 7*8 + 2 = 82, 8*5 + 56 + 2 = 98, output 2*7 = 14; 13*3 + 12*8 + 4 = 139, 13*5 + 96 + 4 = 165
        ('eager', 194, 304),
        # the same, and 8*3 + 8 = 32, 8*5 + 8 = 48
        ('recompute', 194, 384),
        # 3 + 16 + 2 = 21, 5 + 16 + 2 = 23, input 2*3; 4*3 + 64 + 10 = 86, 4*5 + 64 + 10 = 94, input 3*3
        ('fused', 50, 189),
    ],
)
def test_block_by_hand(kind, forward, backward):
    assert traffic.block_elements(kind, **TINY) == (forward, backward)


def test_block_in_evaluation():
    # 7*3 + 6*8 + 2 = 71, 7*5 + 48 + 2 = 85, output 14
    assert traffic.block_elements('eager', **TINY, training=False) == (170, 0)
    assert traffic.block_elements('fused', **TINY, training=False) == (50, 0)


def test_a_whole_model_by_hand():
    """One layer from 2 channels, k = 1, b = 4; images of 4x4 with the CIFAR stem, two classes; in bf16."""
    arch = Architecture(1, (1,), 2, stem='cifar', classes=2)
    parts = {part.part: part for part in traffic.costs(arch, batch=3, size=4, kind='eager', itemsize=2)}
    assert list(parts) == ['stem', 'block 1', 'last norm, linear', 'parameters']
    rows = 3 * 16
    assert parts['stem'].forward_bytes == 2 * rows * (3 + 2)
    assert parts['stem'].flops == 2 * 2 * rows * 27 * 2  # no gradient of the image
    assert parts['block 1'].forward_bytes == 2 * rows * (8 * 2 + 7 * 4 + 1 + 2 * 3)
    assert parts['block 1'].flops == 3 * 2 * rows * (2 * 4 + 9 * 4)
    # stem 54, norms 4 and 8, convolutions 8 and 36, last norm 6, linear 8
    assert arch.parameters == 124
    assert parts['parameters'].bytes == 4 * 8 * 124
    # at 1 FLOP and 1 byte a second each part takes the larger of its two counts
    assert traffic.least_seconds(list(parts.values()), 1, 1) == sum(max(p.flops, p.bytes) for p in parts.values())


def test_transition_pools_first():
    """Without concatenation the convolution runs after the pooling, on a quarter of the pixels."""
    eager, fused = (traffic.costs(ARCHITECTURES['tiny'], 2, 32, kind)[2] for kind in ('eager', 'fused'))
    assert eager.part == fused.part == 'transition 1'
    assert eager.flops == 4 * fused.flops == 3 * 2 * (2 * 8 * 8) * 16 * 8
    assert traffic.transition_elements('eager', 16, 8) == (6 * 16 + 18, 160 + 26)
    assert traffic.transition_elements('fused', 16, 8) == (24 + 2, 44 + 4)


@pytest.mark.parametrize(
    ('name', 'parameters'),
    [('121', 7_978_856), ('201', 20_013_928), ('161', 28_681_000), ('264', 33_337_704)]
    + [('bc-40-12', 176_122), ('bc-100-12', 769_162), ('bc-190-40', 25_624_430)],
)
def test_parameters_as_published(name, parameters):
    assert ARCHITECTURES[name].parameters == parameters


@pytest.mark.parametrize(('name', 'size'), [('121', 64), ('121', 70), ('tiny', 33), ('bc-100-12', 17)])
def test_flops_are_those_of_the_layers(name, size):
    arch = ARCHITECTURES[name]
    spec = dict(growth_rate=arch.growth_rate, depths=arch.depths, init_channels=arch.init_channels)
    with torch.device('meta'):
        backbone = DenseNet(spec, stem=arch.stem, engine='reference')
        counted = count_multiply_adds(backbone, (3, size, size))
    flops = sum(part.forward_flops for part in traffic.costs(arch, 1, size, 'eager', training=False))
    assert flops == 2 * (counted + arch.out_channels * arch.classes)


def test_training_steps_move_less_without_concatenation():
    """Per layer and channel read, 1 instead of 8 elements forward, and 4 instead of 13 backward."""
    for name, size in (('121', 224), ('bc-190-40', 32)):
        eager, recompute, fused = (
            traffic.total_bytes(traffic.costs(ARCHITECTURES[name], 16, size, kind)) for kind in traffic.KINDS
        )
        assert recompute > eager > 2 * fused
