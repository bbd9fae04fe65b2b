"""Schedules are compared with the training that they are of."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.optim import CosineAnnealingLR, LinearLR, MultiStepLR, OneCycleLR, StepLR
from mmengine.runner import IterBasedTrainLoop

from mmdensenet.errors import UserError
from mmdensenet.training.hooks.check_schedule import require_schedule, schedulers_of


def runner(kind, by_iterations=False, **settings):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    loop = IterBasedTrainLoop.__new__(IterBasedTrainLoop) if by_iterations else object()
    return SimpleNamespace(param_schedulers=[kind(optimizer, **settings)], train_loop=loop, max_epochs=4, max_iters=12)


@pytest.mark.parametrize(
    ('kind', 'settings', 'message'),
    [
        (MultiStepLR, dict(milestones=[2.5]), r'MultiStepLR.milestones has 2.5: it counts steps'),
        (MultiStepLR, dict(milestones=[2, -1]), r'MultiStepLR.milestones has -1'),
        (StepLR, dict(step_size=0), r'StepLR.step_size has 0'),
        (StepLR, dict(step_size=1, by_iterations=True), r'StepLR counts epochs and the training iterations'),
    ],
)
def test_what_cannot_be(kind, settings, message):
    run = runner(kind, **settings)
    run.param_schedulers.insert(0, SimpleNamespace(need_val_args=True))
    with pytest.raises(UserError, match=message):
        require_schedule(run)


@pytest.mark.parametrize(
    ('kind', 'settings', 'reach'),
    [
        (MultiStepLR, dict(milestones=[2, 30]), '30 epochs, and the training ends after 4'),
        (CosineAnnealingLR, dict(T_max=5), '5 epochs'),
        (CosineAnnealingLR, dict(T_max=11, begin=2, by_epoch=False), '13 iterations, and the training ends after 12'),
        (OneCycleLR, dict(eta_max=1, total_steps=9), '9 epochs'),
        (LinearLR, dict(start_factor=0.1, end=50), '49 epochs'),
        (MultiStepLR, dict(milestones=[0, 4]), None),
        (StepLR, dict(step_size=1), None),
        (CosineAnnealingLR, dict(T_max=4), None),
        (LinearLR, dict(start_factor=0.1, end=12, by_epoch=False), None),
        (StepLR, dict(step_size=3), None),
    ],
)
def test_what_is_never_reached(kind, settings, reach):
    warnings = require_schedule(runner(kind, **settings))
    assert [reach in text for text in warnings] == ([True] if reach else []), warnings


def test_several_optimizers():
    given = dict(one=['a'], other=['b', 'c'])
    assert schedulers_of(SimpleNamespace(param_schedulers=given)) == ['a', 'b', 'c']
    assert schedulers_of(SimpleNamespace(param_schedulers=None)) == []
