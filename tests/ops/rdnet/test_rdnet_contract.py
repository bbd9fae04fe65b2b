"""What the buffered stage refuses is computed with concatenation, and says why."""

import pytest
import torch
from helpers import assert_same
from support.rdnet_stages import CHANNELS, make_stage
from torch import nn

from mmdensenet import ops


def approximately(stage):
    stage.blocks[1].act = nn.ReLU()


def strided(stage):
    stage.blocks[0].dwconv.padding_mode = 'reflect'


def batch_norm(stage):
    stage.blocks[2].norm = nn.BatchNorm2d(stage.blocks[2].norm.weight.shape[0]).double()


def hook(stage):
    stage.blocks[0].ese.fc.register_forward_hook(lambda *call: None)


def wrapped(stage):
    stage.blocks[0].pwconv1 = nn.Sequential(stage.blocks[0].pwconv1)


@pytest.mark.parametrize(
    ('change', 'reason'),
    [
        (approximately, 'ReLU, not GELU'),
        (strided, 'dwconv is no plain 7x7'),
        (batch_norm, 'BatchNorm2d, not a layer norm'),
        (hook, 'hooks on ese.fc'),
        (wrapped, 'pwconv1 is no plain 1x1'),
    ],
)
def test_what_is_not_buffered_is_computed_with_concatenation(stage, change, reason):
    change(stage)
    x = torch.randn(2, CHANNELS, 4, 4, dtype=torch.float64)
    assert reason in ops.why_not_buffered(x, stage.blocks)
    with pytest.raises(RuntimeError, match=reason):
        stage(x)
    stage.engine = 'auto'
    assert_same(stage.eval()(x), ops.rdnet_stage(x, stage.blocks, [None] * 3))


X = torch.randn(1, CHANNELS, 4, 4, dtype=torch.float64)


@pytest.mark.parametrize('ese', [True, False])
@pytest.mark.parametrize('scaled', [True, False])
def test_stages_of_all_kinds_are_buffered(ese, scaled):
    stage = make_stage(ese, scaled)
    assert ops.why_not_buffered(X, stage.blocks) is None and ops.why_not_buffered(X, stage.blocks[:1]) is None
    stage.blocks[0].pwconv1.bias = None
    assert ops.why_not_buffered(X, stage.blocks) is None
    assert 'different types' in ops.why_not_buffered(X.float(), stage.blocks)
    with torch.autocast('cpu', torch.bfloat16):
        for dtype in (torch.float32, torch.bfloat16):
            assert ops.why_not_buffered(X.to(dtype), stage.float().blocks) is None


def put(name, value):
    """The name is one of the first block's, after a dot of one of its parts."""

    def change(block):
        path, _, last = name.rpartition('.')
        setattr(block.get_submodule(path), last, value() if callable(value) else value)

    return change


def own(name, value):
    """In the instance, before what is registered."""
    return lambda block: block.__dict__.update({name: value})


def parameter(dtype=torch.float64):
    return lambda: nn.Parameter(torch.ones(GROWTH, dtype=dtype))


GROWTH = 16
OTHER = 'has other tensors or parts'
CHANGES = {
    'one without gamma': (put('gamma', None), 'blocks with and without gamma are mixed'),
    'gamma of another type': (put('gamma', parameter(torch.float32)), 'weights and features are of different types'),
    'bias of another type': (put('pwconv2.bias', parameter(torch.float32)), 'are of different types'),
    'a buffer': (lambda block: block.register_buffer('more', torch.ones(1)), 'a block has other parts'),
    'a part': (put('more', nn.Identity), 'a block has other parts'),
    'a part fewer': (lambda block: block.__delattr__('act'), 'a block has other parts'),
    'a part of ese': (put('ese.more', nn.Identity), 'ese has other parts'),
    'ese of its own': (own('ese', nn.Identity()), 'a block has parts of its own'),
    'gamma of its own': (own('gamma', torch.ones(GROWTH)), 'a block has parts of its own'),
    'a parameter': (put('more', parameter()), 'a block has other parameters'),
    'a buffer of a part': (lambda block: block.act.register_buffer('more', torch.ones(1)), f'act {OTHER}'),
    'a part of a part': (put('dwconv.more', nn.Identity), f'dwconv {OTHER}'),
    'a parameter of a part': (put('norm.more', parameter()), f'norm {OTHER}'),
    'a parameter of an activation': (put('act.weight', parameter()), f'act {OTHER}'),
    'pooling to two': (put('ese.pool', lambda: nn.AdaptiveAvgPool2d(2)), 'ese has another pooling or gate'),
    'another gate': (put('ese.gate', nn.GELU), 'ese has another pooling or gate'),
    'eps': (put('norm.eps', lambda: torch.tensor(1e-6)), 'eps of a norm is no number'),
    'norm over the last axis': (put('norm', lambda: nn.LayerNorm(CHANNELS)), 'the norm is LayerNorm, not'),
    'groups': (put('pwconv1.groups', 2), 'pwconv1 is no plain 1x1'),
    'stride': (put('dwconv.stride', (2, 2)), 'dwconv is no plain 7x7'),
    'padding': (put('dwconv.padding', (2, 3)), 'dwconv is no plain 7x7'),
    'forward': (own('forward', print), 'a block has forward of its own'),
}  # fmt: skip


@pytest.mark.parametrize('number', [0, 1])
@pytest.mark.parametrize('change', CHANGES)
def test_what_is_changed_is_named(stage, change, number):
    change, reason = CHANGES[change]
    change(stage.blocks[number])
    assert reason in ops.why_not_buffered(X, stage.blocks)


def test_blocks_of_other_classes(stage):
    assert ops.why_not_buffered(X, []) == 'there are no blocks'
    assert 'has other parts' in ops.why_not_buffered(X, [nn.Sequential(*stage.blocks[0].children())])
    assert 'a block is Identity, not a plain' in ops.why_not_buffered(X, [*stage.blocks, nn.Identity()])
