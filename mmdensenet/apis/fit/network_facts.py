"""What there is to know of a backbone before it is trained: strides, channels, shapes, found without its weights."""

import inspect
from dataclasses import dataclass

import torch
from mmengine.config import Config
from torch.nn.modules.batchnorm import _BatchNorm

from mmdensenet.analysis.stage_costs import build_meta_model
from mmdensenet.errors import UserError, first_line

#: height and width on which strides are measured, which all of them divide
SIDE = 256


@dataclass(frozen=True)
class NetworkFacts:
    """Of a backbone with its neck.

    Attributes:
        stride: the image's height in units of that of the last features.
        features: channels behind the neck.
        batch_norm: whether the backbone has any.
        shapes: of the backbone's tensors, for images of three channels.
    """

    stride: int
    features: int
    batch_norm: bool
    shapes: dict[str, torch.Size]


def facts_of(backbone: dict, neck: dict, source: str) -> NetworkFacts:
    """Find out by running it on torch's 'meta' device.

    Args:
        backbone, neck: types and arguments.
        source: what to call them in messages.

    Raises:
        UserError: for a backbone that is not one of ours, or cannot be built or run.
    """
    try:
        model = build_meta_model(
            Config(dict(model=dict(type='ImageClassifier', backbone=dict(backbone, in_channels=3), neck=neck))),
            'reference',
        ).eval()
        with torch.no_grad():
            maps = model.backbone(torch.empty(1, 3, SIDE, SIDE, device='meta'))
            features = model.neck(maps)[-1]
    except UserError as error:
        raise UserError(f'{source}: {error}') from error
    except Exception as error:  # a config says anything
        raise UserError(f'{source}: the network cannot be built: {first_line(error)}') from error
    return NetworkFacts(
        stride=SIDE // maps[-1].shape[-1],
        features=features.shape[1],
        batch_norm=any(isinstance(module, _BatchNorm) for module in model.backbone.modules()),
        shapes={key: value.shape for key, value in model.backbone.state_dict().items()},
    )


def short_arguments(backbone: dict, facts: NetworkFacts) -> dict:
    """The same backbone without what is its default, and with the name of its ``arch`` where it has one."""
    from mmpretrain.registry import MODELS

    cls = MODELS.get(backbone['type'])
    defaults = {name: each.default for name, each in inspect.signature(cls.__init__).parameters.items()}
    found = {key: value for key, value in backbone.items() if value != defaults.get(key, object())}
    arguments = {key: value for key, value in backbone.items() if key not in ('type', 'in_channels')}
    for name, arch in cls.arch_settings.items():
        if any(_plain(value) != _plain(backbone['arch'][key]) for key, value in arch.items()):
            continue
        with torch.device('meta'):
            named = cls(**dict(arguments, arch=name)).state_dict()
        if {key: value.shape for key, value in named.items()} == facts.shapes:
            found['arch'] = name
    return found


def _plain(value):
    return list(value) if isinstance(value, tuple) else value
