"""Settings of an ``optim_wrapper`` that mmengine would ignore silently, or fail on at the first step."""

import inspect
from collections.abc import Iterable, Mapping
from itertools import accumulate
from numbers import Real

import torch
from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import OPTIMIZERS
from mmpretrain.engine.optimizers import LearningRateDecayOptimWrapperConstructor
from torch import nn

from mmdensenet.errors import UserError
from mmdensenet.similar import did_you_mean

PARAMWISE = 'optim_wrapper.paramwise_cfg'
#: keys that the optimizer wrapper constructors read
KNOWN = (
    *('custom_keys', 'bias_lr_mult', 'bias_decay_mult', 'norm_decay_mult', 'dwconv_decay_mult', 'flat_decay_mult'),
    *('dcn_offset_lr_mult', 'bypass_duplicate'),
)
OF_LAYERS = ('layer_decay_rate',)


def require_optimizer(optim_wrapper, model: nn.Module) -> list[str]:
    """Check a config's ``optim_wrapper`` before it is built; one of several optimizers, as for GANs, is not checked.

    Returns:
        The keys of ``custom_keys`` that no parameter's name contains and that are not similar to one, as in schedules
        that several models share.

    Raises:
        UserError: for an unknown key of ``clip_grad`` and ``paramwise_cfg``, a misspelt key of ``custom_keys``, and a
            factor or a count that is no valid number.
    """
    if not isinstance(optim_wrapper, Mapping) or not isinstance(optim_wrapper.get('optimizer'), Mapping):
        return []
    counts = optim_wrapper.get('accumulative_counts', 1)
    if type(counts) is not int or counts < 1:
        raise UserError(f'optim_wrapper.accumulative_counts={counts!r}: give a whole number of 1 or more.')
    clip = optim_wrapper.get('clip_grad')
    if isinstance(clip, Mapping) and clip.get('type', 'norm') in ('norm', 'value'):
        function = getattr(torch.nn.utils, f'clip_grad_{clip.get("type", "norm")}_')
        known = [name for name in inspect.signature(function).parameters if name != 'parameters']
        for key in clip:
            if key != 'type' and key not in known:
                raise UserError(f'optim_wrapper.clip_grad: there is no {key!r}.{_hint(key, known)}')
    options = _options(optim_wrapper['optimizer'].get('type'))
    return _require_paramwise(optim_wrapper, [name for name, _ in model.named_parameters()], options)


def _options(kind) -> list[str] | None:
    """The options of a parameter group of the optimizer; None if unknown."""
    optimizer = OPTIMIZERS.get(kind) if isinstance(kind, str) else kind
    try:
        parameters = inspect.signature(optimizer).parameters
    except (TypeError, ValueError):
        return None
    return None if any(p.kind is p.VAR_KEYWORD for p in parameters.values()) else list(parameters)[1:]


def _require_paramwise(optim_wrapper: Mapping, names: list[str], options: list[str] | None) -> list[str]:
    given = optim_wrapper.get('paramwise_cfg')
    known = _known_keys(optim_wrapper.get('constructor')) if isinstance(given, Mapping) else None
    if known is None:
        return []
    for key, value in given.items():
        if key not in known:
            raise UserError(f'{PARAMWISE}: there is no {key!r}, and nothing would be set.{_hint(key, known)}')
        if key not in ('custom_keys', 'bypass_duplicate') and value is not None and not _is_number(value):
            raise UserError(f'{PARAMWISE}.{key}={value!r} is no number.')
    custom = given.get('custom_keys')
    parts, unmatched = {part for name in names for part in accumulate(name.split('.'), '{}.{}'.format)}, []
    for key, settings in custom.items() if isinstance(custom, Mapping) else ():
        _require_settings(f'{PARAMWISE}.custom_keys[{key!r}]', settings, options)
        if any(key in name for name in names):
            continue
        if similar := did_you_mean(key, parts):
            raise UserError(f'{PARAMWISE}.custom_keys: {key!r} is in no name of a parameter.{similar}')
        unmatched.append(key)
    return unmatched


def _known_keys(constructor) -> tuple[str, ...] | None:
    """The keys that a constructor reads; None for an unknown constructor."""
    name = str(getattr(constructor, '__name__', constructor)).rpartition('.')[2]
    if name == LearningRateDecayOptimWrapperConstructor.__name__:
        return (*KNOWN, *OF_LAYERS)
    return KNOWN if constructor is None or name == DefaultOptimWrapperConstructor.__name__ else None


def _require_settings(place: str, settings, options: list[str] | None) -> None:
    if not isinstance(settings, Mapping):
        raise UserError(f'{place} is {settings!r}: give a dict, such as dict(lr_mult=0.1).')
    for key, value in settings.items():
        known = ['lr_mult', 'decay_mult', *(options or ())]
        if options is not None and key not in known:
            raise UserError(f'{place} has no {key!r}, and nothing would be set.{_hint(key, known)}')
        if key in ('lr_mult', 'decay_mult') and not _is_number(value):
            raise UserError(f'{place}.{key}={value!r} is no number.')


def _hint(key: str, known: Iterable[str]) -> str:
    return did_you_mean(key, known) or f' It takes {", ".join(known)}.'


def _is_number(value) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
