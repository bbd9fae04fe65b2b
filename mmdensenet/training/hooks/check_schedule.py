"""Finds schedules that this training cannot follow."""

from collections.abc import Iterator
from numbers import Integral

from mmengine.runner import IterBasedTrainLoop

from mmdensenet.errors import UserError


def schedulers_of(runner) -> list:
    """The schedules of a runner, also of one with several optimizers."""
    given = runner.param_schedulers or []
    return [one for some in given.values() for one in some] if isinstance(given, dict) else given


def require_schedule(runner) -> list[str]:
    """Check a runner's schedules before the first step.

    Returns:
        A sentence for each schedule that ends after the training, as when only the training was shortened.

    Raises:
        UserError: for a schedule in epochs in a training by iterations, which has one epoch; for milestones that are
            not whole numbers, which no step reaches, and for a step size of 0.
    """
    by_iterations = isinstance(runner.train_loop, IterBasedTrainLoop)
    late = []
    for scheduler in schedulers_of(runner):
        if getattr(scheduler, 'need_val_args', False):
            continue
        name = type(scheduler).__name__
        if scheduler.by_epoch and by_iterations:
            raise UserError(
                f'param_scheduler: {name} counts epochs and the training iterations: give it '
                'by_epoch=False and its values in iterations, or convert_to_iter_based=True.'
            )
        for key, value in _counts(scheduler):
            if not isinstance(value, Integral) or value < (1 if key == 'step_size' else 0):
                raise UserError(f'param_scheduler: {name}.{key} has {value!r}: it counts steps, in whole numbers.')
        unit, end = ('epochs', runner.max_epochs) if scheduler.by_epoch else ('iterations', runner.max_iters)
        reach = _reach(scheduler)
        if reach is not None and reach > end:
            late.append(
                f'param_scheduler: {name} goes on to {reach} {unit}, and the training ends after {end}: what it does '
                'later is never reached.'
            )
    return late


def _counts(scheduler) -> Iterator[tuple[str, object]]:
    for value in getattr(scheduler, 'milestones', None) or ():
        yield 'milestones', value
    if hasattr(scheduler, 'step_size'):
        yield 'step_size', scheduler.step_size


def _reach(scheduler) -> int | None:
    """The last step at which a schedule changes a value; None if it has no end of its own."""
    milestones = getattr(scheduler, 'milestones', None)
    if milestones:
        return max(milestones)
    for key in ('T_max', 'total_steps', 'total_iters'):
        length = getattr(scheduler, key, None)
        if isinstance(length, Integral):
            return scheduler.begin + length
    return None
