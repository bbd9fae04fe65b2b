"""Compares the metrics that a config names with those that validation reports, before the first step."""

import copy
from collections.abc import Iterator
from numbers import Number

import torch
from mmengine.hooks import CheckpointHook, EarlyStoppingHook, Hook
from mmpretrain.models.classifiers import BaseClassifier

from mmdensenet.errors import UserError
from mmdensenet.model_wrappers import unwrapped
from mmdensenet.registry import HOOKS
from mmdensenet.training.random_state import unchanged_random_state

from .check_schedule import require_schedule, schedulers_of

#: the number of images among which two readable ones are searched
TRIED = 16
SAVE_BEST = 'default_hooks.checkpoint.save_best'
#: words in the names of metrics that are better when less; mmengine has those of metrics that are better when greater
BETTER_WHEN_LESS = ('loss', 'error')


@HOOKS.register_module()
class CheckKeysHook(Hook):
    """Validate on two images, and compare the metrics with ``save_best`` and the keys that hooks and schedulers
    monitor.

    mmengine looks a metric up after the first validation, possibly hours later. This check does not change training. It
    validates only classifiers, because other models may need more than two images.

    Raises:
        UserError: for a key that is not reported or is not one number; the message lists the keys that are.
    """

    def before_train(self, runner) -> None:
        for warning in require_schedule(runner):
            runner.logger.warning(warning)
        monitored = list(_monitored(runner))
        if runner.val_loop is None:
            for place, key in monitored:
                raise UserError(f'{place}={key!r} is watched, and the training does not validate: leave it out.')
            return
        metrics = _metrics_of_two(runner)
        if metrics is None:
            return
        for hook in runner.hooks:
            if isinstance(hook, CheckpointHook):
                best = _best_keys(hook, metrics)
                monitored += [(SAVE_BEST, key) for key in best]
                for key, rule in zip(best, getattr(hook, 'rules', ())):
                    _require_direction(SAVE_BEST, key, rule)
        for place, key in monitored:
            _require_number(place, key, metrics)


def _monitored(runner) -> Iterator[tuple[str, str]]:
    """The keys on which training depends, each with its place in the config."""
    for hook in runner.hooks:
        if isinstance(hook, EarlyStoppingHook):
            _require_direction('EarlyStoppingHook.monitor', hook.monitor, hook.rule)
            if hook.patience < 0:
                raise UserError(f'EarlyStoppingHook.patience={hook.patience} would stop at once: give 0 or more.')
            yield 'EarlyStoppingHook.monitor', hook.monitor
    for scheduler in schedulers_of(runner):
        if not getattr(scheduler, 'need_val_args', False):
            continue
        name = type(scheduler).__name__
        if not scheduler.by_epoch:
            raise UserError(f'{name} steps after validations only: leave its by_epoch=False out.')
        if scheduler.rule == 'less' and _is_better_when_greater(scheduler.monitor):
            raise UserError(
                f"{name} takes a falling {scheduler.monitor} for progress (rule='less', the default): set "
                "rule='greater'."
            )
        _require_direction(f'{name}.monitor', scheduler.monitor, scheduler.rule)
        yield f'{name}.monitor', scheduler.monitor


def _require_direction(place: str, key: str, rule: str | None) -> None:
    """Refuse a rule that prefers the worst value, such as ``less`` for an accuracy."""
    falls = any(word in key.lower() for word in BETTER_WHEN_LESS)
    rises = _is_better_when_greater(key) and not falls
    if (rule == 'less' and rises) or (rule == 'greater' and falls):
        right = 'greater' if rises else 'less'
        raise UserError(f'{place}={key!r} with the rule {rule!r} takes the worst for the best: set rule={right!r}.')


def _is_better_when_greater(key: str) -> bool:
    return any(word in key.lower() for word in map(str.lower, CheckpointHook._default_greater_keys))


def _best_keys(hook: CheckpointHook, metrics: dict) -> list[str]:
    if hook.save_best != ['auto']:
        return hook.save_best or []
    if not metrics:
        raise UserError(f"{SAVE_BEST}='auto': the validation reports no metric: set it to None.")
    first = next(iter(metrics))
    try:
        copy.copy(hook)._init_rule(hook.rules, [first])
    except ValueError as error:
        raise UserError(
            f"{SAVE_BEST}='auto' is {first!r} here: set rule='greater' or 'less', whichever is better."
        ) from error
    return [first]


def _require_number(place: str, key: str, metrics: dict) -> None:
    numbers = [name for name, value in metrics.items() if _is_number(value)]
    if key in numbers:
        return
    reason = 'one value per class, not one number' if key in metrics else 'none of the metrics that are reported'
    advice = f'Choose one of {", ".join(numbers)}.' if numbers else 'No metric here is one number: leave it out.'
    raise UserError(f'{place}={key!r} is {reason}. {advice}')


def _is_number(value) -> bool:
    return isinstance(value, Number) or (getattr(value, 'ndim', None) == 0)


def _metrics_of_two(runner) -> dict | None:
    """The evaluator's metrics of two images; None if they cannot be computed."""
    model = unwrapped(runner.model)
    if not isinstance(model, BaseClassifier):
        return None
    loader, training = runner.val_loop.dataloader, model.training
    try:
        with unchanged_random_state(), torch.no_grad():
            samples = _samples(loader.dataset)
            if not samples:
                return None
            evaluator = copy.deepcopy(runner.val_loop.evaluator)
            batch = loader.collate_fn(samples)
            evaluator.process(data_samples=model.eval().val_step(batch), data_batch=batch)
            return evaluator.evaluate(len(samples))
    except Exception as error:  # the metric needs more images, or a later hook prepares the model
        runner.logger.debug(f'The metrics are not known before the first validation: {error}')
        return None
    finally:
        model.train(training)


def _samples(dataset) -> list:
    found = []
    for index in range(min(TRIED, len(dataset))):
        try:
            found.append(dataset[index])
        except UserError:  # an image that cannot be read
            continue
        if len(found) == 2:
            break
    return found
