"""Checks the parts of a checkpoint, which mmengine checks too late or not at all."""

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.hooks import Hook

from mmdensenet.errors import UserError, option_text
from mmdensenet.registry import HOOKS

from .writing import to_plain


@HOOKS.register_module()
class CheckpointContentHook(Hook):
    """Refuse a checkpoint with a part of the wrong kind before it is used.

    Args:
        source: the name of the checkpoint in messages.

    Raises:
        UserError: for such a part, which the message names.
    """

    priority = 'HIGHEST'  # before the other hooks read their parts

    def __init__(self, source: str):
        self.source = source

    def after_load_checkpoint(self, runner, checkpoint: Any) -> None:
        require_weights(checkpoint, self.source)
        if problem := not_finite(checkpoint.get('state_dict', checkpoint)):
            runner.logger.warning(f'{self.source}: {problem}.')
        if runner._resume and runner._train_loop is not None:
            _require_resumable(runner, checkpoint, self.source)


def require_weights(checkpoint: Any, source: str) -> None:
    """Require tensors by name, or a dict with these as its ``state_dict``.

    Raises:
        UserError: for anything else.
    """
    _require(isinstance(checkpoint, dict), source, 'the checkpoint', 'tensors by name', checkpoint)
    for part in ('state_dict', 'ema_state_dict'):
        if part in checkpoint:
            value = checkpoint[part]
            named = isinstance(value, dict) and all(isinstance(key, str) for key in value)
            _require(named, source, part, 'tensors by name', value)


def not_finite(state_dict: Mapping) -> str | None:
    """The number of tensors with NaN or infinite values, as text; None if all are finite."""
    tensors = {key: value for key, value in state_dict.items() if torch.is_tensor(value) and value.is_floating_point()}
    found = [key for key, value in tensors.items() if not (value.is_meta or _is_finite(value))]
    if not found:
        return None
    have = 'tensor has' if len(found) == 1 else 'tensors have'
    return f'{len(found)} {have} values that are not finite (NaN or infinity), the first {found[0]}'


def _is_finite(value: torch.Tensor) -> bool:
    if 'float4' in str(value.dtype):  # has neither
        return True
    # torch does not test numbers of one byte
    return bool(torch.isfinite(value.float() if value.element_size() == 1 else value).all())


def _require_resumable(runner, checkpoint: dict, source: str) -> None:
    if 'optimizer' not in checkpoint or (runner.param_schedulers and 'param_schedulers' not in checkpoint):
        missing = 'optimizer' if 'optimizer' not in checkpoint else 'schedule'
        raise UserError(
            f'{source} has no state of the {missing}, so a run cannot go on from it (best_*.pth and published files '
            'have weights only).\nTo start a new run from its weights, do not resume, and set '
            f'{option_text("load_from", "CHECKPOINT")}.'
        )
    _require('state_dict' in checkpoint, source, 'state_dict', 'tensors by name', None)
    meta = checkpoint.get('meta')
    _require(isinstance(meta, dict), source, 'meta', 'a dict', meta)
    for key in ('epoch', 'iter'):
        value = meta.get(key)
        _require(type(value) is int and value >= 0, source, f'meta.{key}', 'a number of 0 or more', value)
    seed = meta.get('seed')
    _require(seed is None or type(seed) is int, source, 'meta.seed', 'a number', seed)
    hub = checkpoint.get('message_hub')
    _require(isinstance(hub, dict), source, 'message_hub', 'a dict', hub)
    for key in ('log_scalars', 'runtime_info', 'resumed_keys'):
        _require(isinstance(hub.get(key), dict), source, f'message_hub.{key}', 'a dict', hub.get(key))
    _compare_optimizer(checkpoint['optimizer'], runner.optim_wrapper.state_dict(), source)
    _compare_schedules(runner, checkpoint.get('param_schedulers'), source)


def _compare_optimizer(given: Any, ours: dict, source: str, part: str = 'optimizer') -> None:
    _require(isinstance(given, dict), source, part, 'a dict', given)
    if 'param_groups' not in ours:  # of several optimizers, by their names
        for name, inner in ours.items():
            if isinstance(inner, dict) and 'param_groups' in inner:
                _compare_optimizer(given.get(name), inner, source, f'{part}.{name}')
        return
    state, groups = given.get('state'), given.get('param_groups')
    _require(isinstance(state, dict), source, f'{part}.state', 'a dict', state)
    _require(all(isinstance(value, dict) for value in state.values()), source, f'{part}.state', 'of dicts', state)
    fits = isinstance(groups, list) and all(isinstance(g, dict) and isinstance(g.get('params'), list) for g in groups)
    _require(fits, source, f'{part}.param_groups', 'a list of groups with params', groups)
    sizes, wanted = [[len(group['params']) for group in g] for g in (groups, ours['param_groups'])]
    if sizes != wanted:
        raise UserError(
            f"{source}: its optimizer is for {sum(sizes)} parameters in {len(sizes)} groups, the config's for "
            f'{sum(wanted)} in {len(wanted)}: resume with the config that the run began with.'
        )
    for number, (theirs, group) in enumerate(zip(groups, ours['param_groups'])):
        for key, value in theirs.items():
            if key in group and key != 'params':
                _require_same_kind(value, group[key], source, f'{part}.param_groups[{number}].{key}')


def _compare_schedules(runner, given: Any, source: str) -> None:
    built = runner.param_schedulers
    if not built:
        return
    if isinstance(built, dict):
        fits = isinstance(given, dict) and all(isinstance(given.get(name), list) for name in built)
        _require(fits, source, 'param_schedulers', 'a dict of lists', given)
        pairs = [(f'.{name}', given[name], schedulers) for name, schedulers in built.items()]
    else:
        _require(isinstance(given, list), source, 'param_schedulers', 'a list', given)
        pairs = [('', given, built)]
    for name, states, schedulers in pairs:
        for number, (state, scheduler) in enumerate(zip(states, schedulers)):
            part = f'param_schedulers{name}[{number}]'
            _require(isinstance(state, dict), source, part, 'a dict', state)
            ours = to_plain(scheduler.state_dict())
            for key in ('last_step', '_global_step'):
                if key in ours:
                    _require(type(state.get(key)) is int, source, f'{part}.{key}', 'a number', state.get(key))
            for key, value in state.items():
                _require(isinstance(key, str), source, part, 'a dict of names', state)
                if key in ours:
                    _require_same_kind(value, ours[key], source, f'{part}.{key}')
                elif hasattr(type(scheduler), key):  # it would replace a method
                    _require(False, source, f'{part}.{key}', 'left out', value)


def _require_same_kind(given: Any, ours: Any, source: str, part: str) -> None:
    """Numbers for numbers, lists for lists and so on; None stands for anything that is not set."""
    if given is None or ours is None:
        return
    for kinds, what in (
        (bool, 'yes or no'),
        ((int, float), 'a number'),
        (str, 'text'),
        (dict, 'a dict'),
        ((list, tuple), 'a list'),
    ):
        if isinstance(ours, kinds):
            numeric = what in ('yes or no', 'a number')
            _require(isinstance(given, (int, float) if numeric else kinds), source, part, what, given)
            break
    if isinstance(ours, (list, tuple)) and ours:
        for item in given:
            _require_same_kind(item, ours[0], source, part)


def _require(condition: bool, source: str, part: str, what: str, given: Any) -> None:
    if not condition:
        shown = 'missing' if given is None else f'{given!r:.40}' if isinstance(given, (int, str)) else None
        shown = shown or f'a {type(given).__name__}'
        raise UserError(f'{source} is not a checkpoint that can be used here: {part} is {shown}, not {what}.')
