"""mmdensenet.convert.coverage: which checkpoint is refused, and with what reason."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from mmdensenet.convert import coverage
from mmdensenet.convert.coverage import CheckpointCoverageHook
from mmdensenet.errors import UserError


class Model(nn.Module):
    def __init__(self, classes: int = 3):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
        self.head = nn.Linear(2, classes)


@pytest.fixture
def load(monkeypatch):
    # what other libraries' layouts become is tested in test_on_load.py
    monkeypatch.setattr(coverage, 'fit_checkpoint', lambda *args, **options: None)

    def run(weights: dict, **options) -> None:
        hook = CheckpointCoverageHook('w.pth', **options)
        hook.after_load_checkpoint(SimpleNamespace(model=Model()), dict(state_dict=weights))

    return run


def test_what_fits(load):
    weights = Model().state_dict()
    load(weights)
    load({f'module.{key}': value for key, value in weights.items()})
    load({key: value for key, value in weights.items() if not key.endswith('num_batches_tracked')})
    load(Model(7).state_dict(), head_may_differ=True)
    load({key: value for key, value in weights.items() if key.startswith('backbone')}, head_may_differ=True)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda w: w | Model(7).state_dict(), r'6 of the 8 .*head.weight is \(7, 2\), not \(3, 2\).*num_classes=7\.'),
        (lambda w: {f'net.{key}': value for key, value in w.items()}, r'0 of the 8 .*is missing.*another library'),
        (lambda w: {k: v for k, v in w.items() if k != 'backbone.0.weight'}, r'7 of the 8 .*of another architecture'),
        (
            lambda w: w | {'backbone.0.weight': torch.ones(2, 3, 3, 3)},
            r'7 of the 8 .*is \(2, 3, 3, 3\), not .*another architecture',
        ),
    ],
)
def test_what_is_refused(load, change, message):
    with pytest.raises(UserError, match=rf'(?s)^w\.pth has {message}'):
        load(change(Model().state_dict()))


def test_fine_tuning_needs_the_backbone(load):
    weights = Model().state_dict()
    del weights['backbone.1.running_var']
    with pytest.raises(UserError, match=r'has 5 of the 6 tensors .*backbone\.1\.running_var is missing'):
        load(weights, head_may_differ=True)
