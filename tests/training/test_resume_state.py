"""The state of an exact resume is checked and restored; whole runs are in hooks/test_exact_resume_hook.py."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from mmdensenet.errors import UserError
from mmdensenet.training.resume_state import checked, pending_gradients, restore_gradients, restore_position

STATE = dict(random=[{}], position=2, batches=3, validated=False, sampler=dict(seed=1, sampler_seed=None))


def test_checkpoints_of_earlier_versions_lack_gradients_buffers_and_early_stopping():
    expected = {key: value for key, value in STATE.items() if key != 'sampler'}
    assert checked(STATE) == dict(expected, gradients=[], buffers=[], early_stopping=[])


@pytest.mark.parametrize(
    'change',
    [
        dict(position=-1),
        dict(position=4),
        dict(position='x'),
        dict(random=None),
        dict(sampler=[]),
        dict(sampler=dict(seed='x', sampler_seed=0)),
        dict(sampler=dict(seed=1)),
        dict(gradients=[{}, {}]),
        dict(buffers=[{}, {}]),
        dict(buffers=[3]),
        dict(early_stopping=[dict(best_score=1.0)]),
    ],
)
def test_an_impossible_state_is_refused(change):
    with pytest.raises(UserError, match="part 'exact_resume' is not one of mmdensenet's"):
        checked({**STATE, **change})


def test_a_loop_without_a_position_is_refused_inside_an_epoch():
    loop = SimpleNamespace(dataloader=range(3))
    restore_position(loop, dict(position=0, batches=9))
    with pytest.raises(UserError, match=r"inside an epoch: set train_cfg\.type='mmdensenet\.EpochBasedTrainLoop'"):
        restore_position(loop, dict(position=2, batches=3))


@pytest.mark.parametrize('due', [False, True])
def test_gradients_are_kept_between_optimizer_steps_only(due):
    wrapper = SimpleNamespace(should_update=lambda: due)
    runners = [SimpleNamespace(model=nn.Linear(2, 1), optim_wrapper=wrapper) for _ in range(2)]
    runners[0].model.weight.grad = torch.tensor([[1.0, 2.0]])
    gradients = pending_gradients(runners[0])
    assert list(gradients) == ([] if due else ['weight'])
    restore_gradients(runners[1], {**gradients, 'bias': torch.zeros(5), 'gone': torch.zeros(1)})
    grads = [parameter.grad for parameter in runners[1].model.parameters()]
    assert grads[1] is None and (grads[0] is None if due else grads[0].tolist() == [[1.0, 2.0]])
