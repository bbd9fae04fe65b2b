"""A resumed run follows the schedule of its config, or an error gives the reason."""

import re
from copy import deepcopy
from types import SimpleNamespace

import pytest
import torch
from mmengine.optim.scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    ExponentialLR,
    LinearLR,
    MultiStepLR,
    OneCycleLR,
    PolyLR,
    StepLR,
)

from mmdensenet.checkpoints.writing import to_plain
from mmdensenet.errors import UserError
from mmdensenet.training.adopt_schedule import adopt_schedule

OPEN_ENDED = [(MultiStepLR, dict(milestones=[2, 3, 5])), (StepLR, dict(step_size=2)), (ExponentialLR, dict(gamma=0.9))]


def build(cls, end, **arguments):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    return optimizer, cls(optimizer, end=end, **arguments)


def steps(optimizer, scheduler, number):
    rates = []
    for _ in range(number):
        optimizer.step()
        scheduler.step()
        rates.append(optimizer.param_groups[0]['lr'])
    return rates


def resume(state, rate, optimizer, scheduler):
    """As mmengine's runner and our hook do it."""
    checkpoint = dict(param_schedulers=[state], exact_resume=dict(max_epochs=4))
    warnings = []
    runner = SimpleNamespace(
        param_schedulers=[scheduler],
        train_loop=SimpleNamespace(max_epochs=8),
        logger=SimpleNamespace(warning=warnings.append),
    )
    (missed,) = adopt_schedule(runner, checkpoint)
    scheduler.load_state_dict(checkpoint['param_schedulers'][0])
    optimizer.param_groups[0]['lr'] = rate
    steps(optimizer, scheduler, missed)
    return warnings


@pytest.mark.parametrize('begin', [0, 1])
@pytest.mark.parametrize(('cls', 'arguments'), OPEN_ENDED, ids=lambda v: getattr(v, '__name__', ''))
@pytest.mark.parametrize('done', range(1, 5))
def test_a_later_end_is_adopted(cls, arguments, done, begin):
    """Whether or not the old one, after four epochs, had been reached."""
    straight = steps(*build(cls, 8, begin=begin, **arguments), 8)
    optimizer, scheduler = build(cls, 4, begin=begin, **arguments)
    steps(optimizer, scheduler, done)
    state, rate = deepcopy(to_plain(scheduler.state_dict())), optimizer.param_groups[0]['lr']
    optimizer, scheduler = build(cls, 8, begin=begin, **arguments)
    assert resume(state, rate, optimizer, scheduler) == []
    assert steps(optimizer, scheduler, 8 - done) == straight[done:]
    assert scheduler.end == 8


@pytest.mark.parametrize(
    ('cls', 'old', 'new', 'message'),
    [
        (
            CosineAnnealingLR,
            dict(T_max=4),
            dict(T_max=8),
            r'T_max \(param_scheduler 0\) is 4 there and 8 in the config',
        ),
        (LinearLR, {}, {}, r'LinearLR\.end \(param_scheduler 0\) is 4 there and 8'),
        (ConstantLR, {}, {}, r'ConstantLR\.end'),
        (PolyLR, {}, {}, r'PolyLR\.end'),
        (OneCycleLR, dict(eta_max=1, total_steps=4), dict(eta_max=1, total_steps=8), 'is 4 there and 8 in the config'),
        (MultiStepLR, dict(milestones=[2]), dict(milestones=[3]), r'milestones .* is \{2: 1\} there and \{3: 1\}'),
        (StepLR, dict(step_size=2), dict(step_size=2, gamma=0.5), r'gamma .* is 0\.1 there and 0\.5'),
    ],
    ids=lambda v: getattr(v, '__name__', ''),
)
def test_another_schedule_is_refused(cls, old, new, message):
    optimizer, scheduler = build(cls, 4, **old)
    steps(optimizer, scheduler, 2)
    with pytest.raises(UserError, match=message):
        resume(to_plain(scheduler.state_dict()), 1.0, *build(cls, 8, **new))


@pytest.mark.parametrize('kind', [dict, 'more'])
def test_other_parts_are_refused(kind):
    _, scheduler = build(StepLR, 4, step_size=2)
    runner = SimpleNamespace(param_schedulers=[scheduler], train_loop=SimpleNamespace(max_epochs=4))
    with pytest.raises(UserError, match=r'it has 2 parts and the config 1|is no schedule'):
        adopt_schedule(runner, dict(param_schedulers=[{}, {}] if kind == 'more' else ['text']))


def test_more_epochs_than_the_schedule_has_give_a_warning():
    optimizer, scheduler = build(CosineAnnealingLR, 4, T_max=4)
    steps(optimizer, scheduler, 2)
    warnings = resume(to_plain(scheduler.state_dict()), 1.0, *build(CosineAnnealingLR, 4, T_max=4))
    assert len(warnings) == 1 and 'max_epochs is 8 and was 4: the schedule ends at epoch 4' in warnings[0]


def test_in_a_run(short_config, tmp_path, run_tool):
    cosine = "param_scheduler = dict(type='CosineAnnealingLR', by_epoch=True, T_max={0}, _delete_=True)"
    assert run_tool('train.py', short_config(cosine.format(2)), '--work-dir', tmp_path / 'w').status == 0
    options = ('--work-dir', tmp_path / 'w', '--resume', '--cfg-options', 'train_cfg.max_epochs=4')
    done = run_tool('train.py', short_config(cosine.format(4)), *options)
    assert done.status == 2 and 'Traceback' not in done.err
    assert re.search(r'CosineAnnealingLR\.\w+ \(param_scheduler 0\) is 2 there and 4 in the config', done.err)
    assert 'load_from=CHECKPOINT' in done.err


def test_another_learning_rate_is_refused(short_config, tmp_path, run_tool):
    """mmengine silently uses the checkpoint's."""
    config = short_config('optim_wrapper = dict(optimizer=dict(lr=0.02))')
    assert run_tool('train.py', config, '--work-dir', tmp_path / 'w').status == 0
    options = ['--resume', '--cfg-options', 'train_cfg.max_epochs=3', 'optim_wrapper.optimizer.lr=0.01']
    done = run_tool('train.py', config, '--work-dir', tmp_path / 'w', *options)
    assert done.status == 2 and 'optimizer.lr is 0.02 there and 0.01 in the config' in done.err


@pytest.mark.parametrize(
    ('before', 'now', 'scheduled', 'told'),
    [
        (dict(lr=0.1), dict(lr=0.2), None, 'optimizer.lr is 0.1 in the checkpoint and 0.2 in the config'),
        (dict(lr=0.1), dict(lr=0.2), 'lr', None),
        (
            dict(betas=(0.9, 0.9)),
            dict(betas=(0.9, 0.99)),
            'lr',
            r'optimizer.betas is \(0.9, 0.9\) in the checkpoint and',
        ),
        (dict(betas=(0.9, 0.9)), dict(betas=(0.9, 0.99)), 'momentum', None),
        (dict(betas=(0.9, 0.9)), dict(betas=[0.9, 0.9]), None, None),
    ],
)
def test_settings_that_the_checkpoint_replaces_are_told(before, now, scheduled, told):
    """Without a schedule, mmengine silently trains with the checkpoint's."""
    saved, optimizer = (torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], **given) for given in (before, now))
    warnings = []
    runner = SimpleNamespace(
        param_schedulers=scheduled and [SimpleNamespace(param_name=scheduled)],
        optim_wrapper=SimpleNamespace(optimizer=optimizer),
        logger=SimpleNamespace(warning=warnings.append),
    )
    adopt_schedule(runner, dict(optimizer=to_plain(saved.state_dict())))
    assert len(warnings) == (told is not None)
    assert told is None or re.match(told, warnings[0])
