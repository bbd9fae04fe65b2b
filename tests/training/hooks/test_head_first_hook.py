from types import SimpleNamespace

import pytest
import torch
from torch import nn

from mmdensenet.errors import UserError
from mmdensenet.training.hooks import HeadFirstHook


def test_the_backbone_is_held_for_the_first_epochs_and_let_go():
    model = nn.Module()
    model.backbone = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 2))
    model.head = nn.Linear(2, 2)
    model.backbone[2].weight.requires_grad_(False)  # frozen by the config
    hook, runner = HeadFirstHook(epochs=2), SimpleNamespace(model=model, epoch=0)
    seen, free = [], []
    for runner.epoch in range(3):
        hook.before_train_epoch(runner)
        model.train()  # the loop does
        hook.before_train_iter(runner, 0)
        model.head(model.backbone(torch.randn(4, 2))).sum().backward()
        seen.append((model.backbone.training, model.backbone[0].weight.grad is None, model.head.weight.grad is None))
        hook.after_train_epoch(runner)
        free.append(model.backbone[0].weight.requires_grad)
    assert free == [False, True, True], 'before the checkpoint of the last such epoch is saved'
    assert seen == [(False, True, False), (False, True, False), (True, False, False)]
    assert not model.backbone[2].weight.requires_grad
    assert HeadFirstHook(epochs=0).epochs == 0
    with pytest.raises(UserError, match='give 0 or more'):
        HeadFirstHook(epochs=-1)
