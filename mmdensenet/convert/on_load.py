"""Lets mmengine load weights of any layout: in ``load_from``, ``Pretrained`` and the tools."""

import json
import logging
import re
from collections.abc import Callable, Mapping, MutableMapping
from contextlib import suppress

from mmengine.logging import MMLogger, print_log
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmdensenet.compat.faults import wrapping
from mmdensenet.compat.mmengine import OTHER_LAYOUTS
from mmdensenet.errors import UserError
from mmdensenet.model_wrappers import unwrapped
from mmdensenet.terminal import SHOWN

from .convert import EMA_CONTAINERS, Report, adapt_channels, convert_state_dict, notes_on_ema, require_floating, unwrap
from .layouts import prefixes


def fit_checkpoint(model: nn.Module, checkpoint: MutableMapping, fit_channels: bool = True) -> bool:
    """Set ``checkpoint['state_dict']`` to the weights for ``model``, converted from any known layout.

    Nothing changes for a model without our backbone, and for a checkpoint that fits or that holds no DenseNet.

    Args:
        model: a classifier, a detector and so on with a :class:`mmdensenet.models.DenseNet` or
            :class:`mmdensenet.models.RDNet`, or that backbone itself.
        fit_channels: adapt the first convolution to the backbone's number of input channels.

    Returns:
        Whether the checkpoint changed.

    Raises:
        UserError: for integers in the place of weights, and for an epsilon that is none.
    """
    own, backbone = backbone_of(model)
    if not isinstance(checkpoint, MutableMapping) or backbone is None:
        return False
    tensors = unwrap(checkpoint)
    converted, done = tensors, notes_on_ema(checkpoint)
    eps = _stated_eps(checkpoint)
    there = prefixes(tensors)
    at_home = there.get(own) or there.get(f'module.{own}')
    if {f'{own}stem.0.weight', f'module.{own}stem.0.weight'} & set(tensors) and (at_home is None or at_home.ours):
        pass  # our names
    elif not there:
        return False
    else:
        try:
            converted, report = convert_state_dict(tensors, partial=True)
        except UserError as error:
            print_log(f'The checkpoint is loaded unconverted: {error}', logger='current', level=logging.WARNING)
            return False
        converted = {
            own + key.removeprefix('backbone.') if key.startswith('backbone.') else key: value
            for key, value in converted.items()
            if key.startswith('backbone.') or own
        }
        # what has no place in our network stays, for those who load all or nothing to refuse it
        converted |= {own + name: tensors[key] for name, key in _left_of_network(report).items()}
        report.source = 'the checkpoint'
        done.append(report.summary())
        eps = getattr(report.architecture, 'norm_eps', eps)
    floating = {key for key, value in unwrapped(model).state_dict().items() if value.is_floating_point()}
    require_floating({key: value for key, value in converted.items() if key.removeprefix('module.') in floating})
    key = next((k for k in (f'{own}stem.0.weight', f'module.{own}stem.0.weight') if k in converted), None)
    wanted = backbone.stem[0].in_channels
    if fit_channels and key is not None and converted[key].dim() == 4 and converted[key].shape[1] != wanted:
        converted = dict(converted)
        given = converted[key].shape[1]
        converted[key] = adapt_channels(converted[key], wanted)
        done.append(f'the first convolution was adapted from {given} to {wanted} input channels')
    norm = next((m for m in backbone.modules() if isinstance(m, _BatchNorm)), None)
    if norm is not None and eps not in (None, norm.eps):
        converted = _with_eps(converted, own, eps, norm.eps)
        done.append(f'running variances carry the difference of epsilon, {eps} in the file, {norm.eps} in the model')
    given = checkpoint.get('state_dict', checkpoint) or {}  # where mmengine looks
    if not done and tensors.keys() <= given.keys():
        return False
    for name in EMA_CONTAINERS:
        checkpoint.pop(name, None)
    if 'backbone' in _meta(checkpoint):
        checkpoint['meta'] = {**checkpoint['meta'], 'backbone': {}}  # the epsilon is not adapted a second time
    checkpoint['state_dict'] = converted
    if done:
        MMLogger.get_current_instance().info('; '.join(done), extra=SHOWN)
    return True


def backbone_of(model: nn.Module) -> tuple[str, nn.Module | None]:
    """What the keys of our backbone in a model begin with, and the backbone; None without one."""
    from mmdensenet.models import DenseNet, RDNet

    found = ((n, m) for n, m in unwrapped(model).named_modules() if isinstance(m, DenseNet | RDNet))
    name, backbone = next(found, ('', None))
    return f'{name}.' if name else '', backbone


def _left_of_network(report: Report) -> dict[str, str]:
    """The file's names of unused tensors between image and head, by those names without the prefix."""
    known = '' if report.layout.ours else '(features|dense_stages|stem)\\.'
    below = re.compile(re.escape(report.prefix) + known)
    of_network = [key for key in report.left if report.layout.name == 'Keras' or below.match(key)]
    return {key.removeprefix(report.prefix): key for key in of_network}


def _stated_eps(checkpoint: MutableMapping) -> float | None:
    """The epsilon of batch norm in a converted file's metadata, which safetensors stores as JSON."""
    backbone = _meta(checkpoint).get('backbone')
    if isinstance(backbone, str):
        with suppress(ValueError, RecursionError):
            backbone = json.loads(backbone)
    norm = backbone.get('norm_cfg') if isinstance(backbone, dict) else None
    eps = norm.get('eps') if isinstance(norm, dict) else None
    if eps is not None and not (isinstance(eps, int | float) and 0 <= eps < 1):
        raise UserError(f"the checkpoint's epsilon of batch norm, meta.backbone.norm_cfg.eps, is {eps!r:.40}.")
    return eps


def _meta(checkpoint: MutableMapping) -> dict:
    meta = checkpoint.get('meta')
    return meta if isinstance(meta, dict) else {}


def _with_eps(tensors: Mapping[str, Tensor], own: str, given: float, wanted: float) -> dict[str, Tensor]:
    """The tensors with running variances adapted from epsilon ``given`` to ``wanted``: evaluation does not change."""
    below = re.compile(rf'(module\.)?{re.escape(own)}.*running_var')
    changed = {key: value + (given - wanted) for key, value in tensors.items() if below.fullmatch(key)}
    if any((value < 0).any() for value in changed.values()):
        raise UserError(
            f'batch norm has epsilon {wanted} in the model and {given} in the checkpoint, and variances below the '
            f"difference: set model.backbone.norm_cfg=dict(type='BN', eps={given})."
        )
    return {**tensors, **changed}


def _initialise(original: Callable, self, module: nn.Module) -> None:
    """``PretrainedInit``, which with a prefix reads keys below it that other layouts do not have, and which leaves a
    backbone with random weights where a file is of another network."""
    import mmengine.runner.checkpoint as checkpoint
    from mmengine.model.weight_init import update_init_info

    from mmdensenet.models import DenseNet, RDNet

    if not isinstance(module, DenseNet | RDNet):
        return original(self, module)
    chosen = checkpoint.CheckpointLoader.load_checkpoint(
        self.checkpoint, map_location=self.map_location, logger='silent'
    )
    if not isinstance(chosen, dict):
        raise UserError(f'{self.checkpoint} holds a {type(chosen).__name__}, not tensors by name.')
    if self.prefix is not None:
        below = self.prefix.rstrip('.') + '.'
        tensors = unwrap(chosen)
        selected = {key.removeprefix(below): value for key, value in tensors.items() if key.startswith(below)}
        chosen = dict(state_dict=selected or tensors)
    fit_checkpoint(module, chosen)
    _require_own(module, chosen, self.checkpoint)
    checkpoint._load_checkpoint_to_model(module, chosen, strict=False, logger='current')
    if hasattr(module, '_params_init_info'):
        update_init_info(module, init_info=self._get_init_info())


def _require_own(backbone: nn.Module, checkpoint: Mapping, source: str) -> None:
    """Refuse weights of which none is the backbone's, or of which one has another shape."""
    own = backbone.state_dict()
    given = {key.removeprefix('module.'): value for key, value in unwrap(checkpoint).items()}
    there = [key for key in own if key in given]
    other = next((key for key in there if given[key].shape != own[key].shape), None)
    if there and other is None:
        return
    what = 'has no tensor of this backbone'
    if other is not None:
        what = f'is of another network: {other} is {tuple(given[other].shape)} there and {tuple(own[other].shape)} here'
    raise UserError(f'{source} {what}. `init_cfg` needs weights of this {type(backbone).__name__}.')


@OTHER_LAYOUTS.repaired_by
def convert_while_loading() -> None:
    """Let mmengine's functions that put a checkpoint into a model convert it first."""
    import mmengine.runner.checkpoint as checkpoint_module
    from mmengine.model.weight_init import PretrainedInit

    @wrapping(checkpoint_module, '_load_checkpoint_to_model')
    def load_fitting(load_to_model: Callable, model, checkpoint, *args, **kwargs):
        fit_checkpoint(model, checkpoint)
        return load_to_model(model, checkpoint, *args, **kwargs)

    wrapping(PretrainedInit, '__call__')(_initialise)
