"""Which engine computes a block, and the reason that it raises or logs; all reasons are in ops/block/test_plan.py."""

from types import SimpleNamespace

import pytest
import torch
from fused_blocks import pair, random
from helpers import assert_same
from torch import nn

from mmdensenet.models import DenseNet, RDNet, dense_block

ARCH = dict(growth_rate=4, depths=[2, 2], init_channels=8)
SMALL = dict(growth_rates=(8, 16), downsample=(1,), init_channels=16)


@pytest.mark.parametrize(
    ('change', 'reason'),
    [
        (lambda b: setattr(b.block[1], 'act', nn.LeakyReLU()), 'the activation is LeakyReLU'),
        (lambda b: b.block[1].norm1.register_forward_hook(lambda *_: None), 'hooks on the norm'),
    ],
    ids=lambda value: value if isinstance(value, str) else '',
)
def test_where_it_does_not_apply_the_reference_runs(change, reason):
    reference, block = pair()
    change(block)
    change(reference)
    x = random(2, 5, 4, 4)
    with pytest.raises(RuntimeError, match=f"engine='fused'.*{reason}"):
        block(x)
    block.engine = 'auto'
    assert_same(block(x), reference(x), 0)


def test_the_reason_is_logged_once(monkeypatch):
    _, block = pair(engine='auto')
    block.block[0].act = nn.SiLU()
    reasons = []
    dense_block.log_once.cache_clear()  # an earlier test may have given the same reason
    logger = SimpleNamespace(info=lambda message, **_: reasons.append(message))
    monkeypatch.setattr(dense_block.MMLogger, 'get_current_instance', lambda: logger)
    for _ in range(3):
        block(random(2, 5, 4, 4))
    assert len([r for r in reasons if 'SiLU' in r]) == 1


@pytest.mark.parametrize('kind', [DenseNet, RDNet])
def test_legacy_hooks_that_were_removed_do_not_forbid_fusing(kind):
    """torch's mark of them stays."""
    arch = ARCH if kind is DenseNet else SMALL
    net, x = kind(arch, engine='fused'), torch.randn(2, 3, 64, 64)
    handles = [net.stages[0].register_backward_hook(lambda *_: None)]
    with pytest.raises(RuntimeError, match='a legacy'):
        net(x)
    handles.append(net.register_backward_hook(lambda *_: None))
    assert dense_block.has_legacy_hook(net)
    for handle in handles:
        handle.remove()
    net(x)
    assert not any(map(dense_block.has_legacy_hook, net.modules()))


def test_unknown_engine():
    with pytest.raises(ValueError, match="choose 'auto', 'fused' or 'reference'"):
        DenseNet(engine='fast')
