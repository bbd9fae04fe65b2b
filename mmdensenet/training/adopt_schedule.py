"""Resuming with a config whose schedule differs from the checkpoint's.

mmengine silently replaces the config's schedule by the checkpoint's: with another max_epochs the old end remains. A
schedule whose values do not depend on its end continues to the new end; any other difference is refused.
"""

import inspect

from mmengine.optim.scheduler.param_scheduler import (
    ExponentialParamScheduler,
    MultiStepParamScheduler,
    StepParamScheduler,
    _ParamScheduler,
)

from mmdensenet.checkpoints.writing import to_plain
from mmdensenet.errors import UserError, option_text

#: settings of an optimizer that nothing changes while it trains, except a schedule of that setting
_SETTINGS = ('lr', 'momentum', 'betas', 'dampening', 'nesterov', 'eps', 'alpha')
_OPEN_ENDED = (ExponentialParamScheduler, MultiStepParamScheduler, StepParamScheduler)


def adopt_schedule(runner, checkpoint: dict) -> list[int]:
    """Compare the schedules, and set the config's end in the checkpoint's where that is exact.

    Returns:
        For each scheduler, the number of steps after the old end that it has to catch up on.

    Raises:
        UserError: if the schedules differ; the message names the first key that does.
    """
    _compare_learning_rates(runner, checkpoint)
    _warn_of_other_settings(runner, checkpoint)
    given, built = checkpoint.get('param_schedulers'), runner.param_schedulers
    if not isinstance(given, list) or not isinstance(built, list):
        return []
    if len(given) != len(built):
        raise UserError(_differs(f'it has {len(given)} parts and the config {len(built)}'))
    missed = []
    for number, (theirs, scheduler) in enumerate(zip(given, built)):
        if not isinstance(theirs, dict):
            raise UserError(_differs(f'its part {number} is no schedule'))
        missed.append(_adopt_end(theirs, scheduler))
        ours = to_plain(scheduler.state_dict())
        for key in _arguments(type(scheduler)):
            if key in ours and key in theirs and theirs[key] != ours[key]:
                what = f'{type(scheduler).__name__}.{key} (param_scheduler {number}) is {theirs[key]!r} there'
                raise UserError(_differs(f'{what} and {ours[key]!r} in the config'))
    _warn_if_it_ends_early(runner, built, checkpoint)
    return missed


def _adopt_end(theirs: dict, scheduler: _ParamScheduler) -> int:
    old, done = theirs.get('end'), theirs.get('_global_step')
    if not isinstance(scheduler, _OPEN_ENDED) or type(old) is not int or type(done) is not int or old == scheduler.end:
        return 0
    if done >= scheduler.end > old:  # beyond the new end too: only the counter in the file changes
        done = scheduler.end - 1
    theirs['end'] = scheduler.end
    missed = max(0, done - old + 1) if scheduler.end > old else 0
    theirs['_global_step'] -= missed
    return missed


def _warn_if_it_ends_early(runner, built: list[_ParamScheduler], checkpoint: dict) -> None:
    ours = checkpoint.get('exact_resume')
    total, before = runner.train_loop.max_epochs, ours.get('max_epochs') if isinstance(ours, dict) else None
    ends = [scheduler.end for scheduler in built if scheduler.by_epoch]
    if isinstance(before, int) and before != total and ends and max(ends) < total:
        runner.logger.warning(
            f'max_epochs is {total} and was {before}: the schedule ends at epoch {max(ends)}, and the learning rate '
            'stays at its last value from there.'
        )


def _compare_learning_rates(runner, checkpoint: dict) -> None:
    """Refuse other learning rates: those of the checkpoint replace those of the config."""
    given, optimizer = checkpoint.get('optimizer'), getattr(getattr(runner, 'optim_wrapper', None), 'optimizer', None)
    if not isinstance(given, dict) or optimizer is None:
        return
    for theirs, ours in zip(given.get('param_groups') or (), optimizer.param_groups):
        for key in ('initial_lr', 'weight_decay'):
            if key in theirs and key in ours and theirs[key] != ours[key]:
                name = dict(initial_lr='lr').get(key, key)
                raise UserError(_differs(f'optimizer.{name} is {theirs[key]!r} there and {ours[key]!r} in the config'))


def _warn_of_other_settings(runner, checkpoint: dict) -> None:
    """Warn of other settings without a schedule. No error: a hook may have changed them in the run itself."""
    given, optimizer = checkpoint.get('optimizer'), getattr(getattr(runner, 'optim_wrapper', None), 'optimizer', None)
    if not isinstance(given, dict) or optimizer is None:
        return
    scheduled = {scheduler.param_name for scheduler in runner.param_schedulers or ()}
    if 'momentum' in scheduled:  # of Adam, it is the first of the betas
        scheduled.add('betas')
    for name in (name for name in _SETTINGS if name not in scheduled):
        for theirs, ours in zip(given.get('param_groups') or (), optimizer.param_groups):
            if name in theirs and name in ours and _listed(theirs[name]) != _listed(ours[name]):
                runner.logger.warning(
                    f'optimizer.{name} is {theirs[name]!r} in the checkpoint and {ours[name]!r} in the config: the run '
                    "continues with the checkpoint's."
                )
                break


def _differs(how: str) -> str:
    return (
        f"the checkpoint's schedule is not the config's: {how}.\nResume with the schedule that the run began with, or "
        f'start a new run from the weights with {option_text("load_from", "CHECKPOINT")}.'
    )


def _listed(value):
    return list(value) if isinstance(value, tuple) else value  # betas are either


def _arguments(cls: type) -> list[str]:
    names = dict.fromkeys(
        name for base in cls.__mro__ if '__init__' in vars(base) for name in inspect.signature(base.__init__).parameters
    )
    return [n for n in names if n not in ('self', 'args', 'kwargs', 'optimizer', 'param_name', 'last_step', 'verbose')]
