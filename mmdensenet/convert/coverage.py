"""Refuses a checkpoint of another model, where mmengine warns and continues with random weights."""

import re

from mmengine.hooks import Hook

from mmdensenet.errors import UserError
from mmdensenet.model_wrappers import unwrapped
from mmdensenet.registry import HOOKS

from .on_load import fit_checkpoint


@HOOKS.register_module()
class CheckpointCoverageHook(Hook):
    """Compare a checkpoint's keys and shapes with the model's before they are loaded.

    A checkpoint in another library's layout is converted first.

    Testing and resuming need the whole model. Fine-tuning (``load_from`` in training) needs only the backbone: a head
    for other classes is initialised anew.

    Args:
        source: the name of the checkpoint in messages.
        head_may_differ: True for fine-tuning.

    Raises:
        UserError: if they differ; the message names the first keys and the likely reason.
    """

    def __init__(self, source: str, head_may_differ: bool = False):
        self.source = source
        self.head_may_differ = head_may_differ

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        fit_checkpoint(runner.model, checkpoint, fit_channels=self.head_may_differ)
        given = checkpoint.get('state_dict', checkpoint) if isinstance(checkpoint, dict) else {}
        given = {re.sub(r'^module\.', '', key): value for key, value in given.items() if hasattr(value, 'shape')}
        # a counter that no result depends on; weights from before torch 0.4.1 lack it, and torch loads them
        wanted = unwrapped(runner.model).state_dict()
        wanted = {key: value for key, value in wanted.items() if not key.endswith('num_batches_tracked')}
        if self.head_may_differ:
            wanted = {key: value for key, value in wanted.items() if not key.startswith('head.')}
        missing = [key for key in wanted if key not in given]
        other = [key for key in wanted if key in given and given[key].shape != wanted[key].shape]
        if missing or other:
            raise UserError(describe(self.source, wanted, given, missing, other))


def describe(source: str, wanted: dict, given: dict, missing: list[str], other: list[str]) -> str:
    """One or two lines: how much fits, the first keys that do not, and the likely reason."""
    first = [f'{key} is missing' for key in missing[:2]]
    first += [f'{key} is {tuple(given[key].shape)}, not {tuple(wanted[key].shape)}' for key in other[:2]]
    fits = len(wanted) - len(missing) - len(other)
    if not missing and all(key.startswith('head.') for key in other):
        classes = given[other[0]].shape[0]
        reason = f'It was trained for {classes} classes: set model.head.num_classes={classes}.'
    elif fits == 0 and not other:
        reason = 'Its keys are of another library or another kind of model.'
    else:
        reason = 'It is likely of another architecture: test it with the config that it was trained with.'
    return f'{source} has {fits} of the {len(wanted)} tensors of this model: {"; ".join(first)}.\n{reason}'
