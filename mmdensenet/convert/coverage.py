"""Refuses a checkpoint of another model, where mmengine warns and continues with random weights."""

import re
from collections.abc import Sequence

from mmengine.hooks import Hook

from mmdensenet.errors import UserError
from mmdensenet.model_wrappers import unwrapped
from mmdensenet.registry import HOOKS

from .on_load import backbone_of, fit_checkpoint

#: the last names of tensors on which every output behind them depends, unlike counters or the FLOPs of thop
_PARAMETERS = 'weight|bias|gamma|beta|p|running_mean|running_var'


@HOOKS.register_module()
class CheckpointCoverageHook(Hook):
    """Compare a checkpoint's keys and shapes with the model's before they are loaded.

    A checkpoint in another library's layout is converted first.

    Testing and resuming need the whole model, and a model with all of the checkpoint's backbone and neck. Fine-tuning
    (``load_from`` in training) needs only the backbone: a head for other classes is initialised anew.

    Args:
        source: the name of the checkpoint in messages.
        head_may_differ: True for fine-tuning.
        partial: convert only, and compare nothing.

    Raises:
        UserError: if they differ; the message names the first keys and the likely reason.
    """

    def __init__(self, source: str, head_may_differ: bool = False, partial: bool = False):
        self.source = source
        self.head_may_differ = head_may_differ
        self.partial = partial

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        fit_checkpoint(runner.model, checkpoint, fit_channels=self.head_may_differ)
        if isinstance(checkpoint, dict) and 'state_dict' not in checkpoint:
            checkpoint['state_dict'] = dict(checkpoint)  # where EMAHook looks for the weights
        if self.partial:
            return
        given = checkpoint['state_dict'] if isinstance(checkpoint, dict) else {}
        given = {re.sub(r'^module\.', '', key): value for key, value in given.items() if hasattr(value, 'shape')}
        # a counter that no result depends on; weights from before torch 0.4.1 lack it, and torch loads them
        wanted = unwrapped(runner.model).state_dict()
        wanted = {key: value for key, value in wanted.items() if not key.endswith('num_batches_tracked')}
        if self.head_may_differ:
            wanted = {key: value for key, value in wanted.items() if not key.startswith('head.')}
        missing = [key for key in wanted if key not in given]
        other = [key for key in wanted if key in given and given[key].shape != wanted[key].shape]
        own, backbone = backbone_of(runner.model)
        below = re.compile(rf'({re.escape(own)}|neck\.)(.+\.)?({_PARAMETERS})')
        extra = [key for key in given if backbone is not None and key not in wanted and below.fullmatch(key)]
        if missing or other or (extra and not self.head_may_differ):
            raise UserError(describe(self.source, wanted, given, missing, other, extra))


def describe(
    source: str, wanted: dict, given: dict, missing: list[str], other: list[str], extra: Sequence[str] = ()
) -> str:
    """One or two lines: how much fits, the first keys that do not, and the likely reason."""
    first = [f'{key} is missing' for key in missing[:2]]
    first += [f'{key} is {tuple(given[key].shape)}, not {tuple(wanted[key].shape)}' for key in other[:2]]
    fits = len(wanted) - len(missing) - len(other)
    has = f'has {fits} of the {len(wanted)} tensors of this model: {"; ".join(first)}'
    reason = 'It is likely of another architecture: test it with the config that it was trained with.'
    if not first:
        has = f'has tensors that this model does not have: {", ".join(extra[:2])}'
    elif not missing and all(key.startswith('head.') for key in other):
        classes = given[other[0]].shape[0]
        reason = f'It was trained for {classes} classes: set model.head.num_classes={classes}.'
    elif fits == 0 and not other:
        reason = 'Its keys are of another library or another kind of model.'
    return f'{source} {has}.\n{reason}'
