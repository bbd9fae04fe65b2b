"""RDNet's weights: the names of timm and of the authors, and the architecture of a set of tensors."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from mmdensenet.errors import UserError
from mmdensenet.extras import imported

from .classifier import ClassifierArchitecture, layers_per_stage

#: numbers of the modules in a block's ``layers``
_LAYERS = {'0': 'dwconv', '1': 'norm', '2': 'pwconv1', '4': 'pwconv2', '5.fc': 'ese.fc'}


@dataclass
class RDNetArchitecture(ClassifierArchitecture):
    """The arguments of :class:`mmdensenet.models.RDNet`, and the number of classes (None without a head)."""

    growth_rates: tuple[int, ...]
    downsample: tuple[int, ...]
    init_channels: int
    depths: tuple[int, ...]
    ese: tuple[bool, ...]
    in_channels: int
    bottleneck_ratio: float
    compression_factor: float
    layer_scale: bool
    num_classes: int | None
    features: int
    #: whether the classifier's norm is there: timm keeps it in a model without a head
    has_neck: bool = True
    #: the side of the images that a test takes
    side: int = 224
    #: the backbone's name in the registry
    kind: ClassVar[str] = 'mmdensenet.RDNet'

    @property
    def name(self) -> str:
        """'RDNet-tiny', or 'RDNet' of other numbers than the paper's."""
        from mmdensenet.models import RDNet

        for name, arch in RDNet.arch_settings.items():
            if all(tuple(arch[key]) == getattr(self, key) for key in ('growth_rates', 'downsample')) and (
                arch['init_channels'] == self.init_channels
            ):
                return f'RDNet-{name}'
        return 'RDNet'

    def backbone(self, in_channels: int | None = None) -> dict:
        """The arguments of the backbone."""
        keys = ('growth_rates', 'downsample', 'init_channels', 'depths', 'ese')
        return dict(
            arch={key: getattr(self, key) for key in keys},
            in_channels=in_channels or self.in_channels,
            bottleneck_ratio=self.bottleneck_ratio,
            compression_factor=self.compression_factor,
            layer_scale_init_value=1e-6 if self.layer_scale else 0.0,
        )

    def neck(self) -> dict:
        """Type and arguments of a classifier's neck."""
        return dict(type='mmdensenet.NormedAveragePooling', in_channels=self.features)

    def modules(self) -> tuple[nn.Module, nn.Module]:
        from mmdensenet.models import NormedAveragePooling, RDNet

        return RDNet(**self.backbone()), NormedAveragePooling(self.features)

    def __str__(self) -> str:
        rates = '-'.join(map(str, self.growth_rates))
        classes = 'no head' if self.num_classes is None else f'{self.num_classes} classes'
        return (
            f'{self.name}: growth rates {rates}, downsampling at stages {", ".join(map(str, self.downsample))}, '
            f'{self.init_channels} channels in the stem, {self.in_channels} input channels, {classes}'
        )


def is_rdnet(tensors: Mapping[str, Tensor]) -> bool:
    """Whether tensors under our names belong to an RDNet."""
    return any(key.startswith('backbone.stages.0.blocks.') for key in tensors)


def infer_rdnet(tensors: Mapping[str, Tensor]) -> RDNetArchitecture:
    """The architecture of tensors under our names.

    Raises:
        KeyError: with the name of the first missing tensor.
        UserError: if our backbone cannot build the RDNet of these tensors.
    """
    stem = tensors['backbone.stem.0.weight']
    if tuple(stem.shape[2:]) != (4, 4):
        raise UserError(f"the stem's convolution is {'x'.join(map(str, stem.shape[2:]))}: an RDNet's is 4x4.")
    depths = layers_per_stage(tensors, r'backbone\.stages\.(\d+)\.blocks\.(\d+)\.')
    count = len(depths)
    convolutions = {i: tensors[f'backbone.stages.{i}.conv.weight'] for i in range(1, count)}
    hidden, read = tensors['backbone.stages.0.blocks.0.pwconv1.weight'].shape[:2]
    growth_rates = tuple(tensors[f'backbone.stages.{i}.blocks.0.pwconv2.weight'].shape[0] for i in range(count))
    head = tensors.get('head.fc.weight')
    # the weights show a ratio only after rounding to a multiple of eight
    compressed, given = convolutions[1].shape[:2] if count > 1 else (1, 2)
    channels = convolutions[count - 1].shape[0] if count > 1 else stem.shape[0]
    return RDNetArchitecture(
        growth_rates=growth_rates,
        downsample=tuple(i for i, weight in convolutions.items() if weight.shape[2] == 2),
        init_channels=stem.shape[0],
        depths=depths,
        ese=tuple(f'backbone.stages.{i}.blocks.0.ese.fc.weight' in tensors for i in range(count)),
        in_channels=stem.shape[1],
        bottleneck_ratio=4.0 if hidden == int(read * 4 / 8) * 8 else hidden / read,
        compression_factor=0.5 if compressed == int(given * 0.5 / 8) * 8 else compressed / given,
        layer_scale='backbone.stages.0.blocks.0.gamma' in tensors,
        num_classes=None if head is None else head.shape[0],
        features=channels + depths[-1] * growth_rates[-1],
        has_neck='neck.norm.weight' in tensors,
    )


def translate_rdnet(key: str) -> str | None:
    """Our name for a tensor of timm or of the authors, or None."""
    if match := re.fullmatch(r'(?:stem\.)?stem\.([01])\.(weight|bias)', key):
        return f'backbone.stem.{match[1]}.{match[2]}'
    if match := re.fullmatch(r'dense_stages\.(\d+)\.([01])\.(weight|bias)', key):
        return f'backbone.stages.{match[1]}.{"norm" if match[2] == "0" else "conv"}.{match[3]}'
    # the blocks of a stage follow its norm and convolution, which the first stage lacks
    if match := re.fullmatch(r'dense_stages\.(\d+)\.([02])\.dense_block(\d+)\.(.+)', key):
        stage, _, block, rest = match.groups()
        if rest == 'gamma':
            return f'backbone.stages.{stage}.blocks.{block}.gamma'
        if inner := re.fullmatch(r'layers\.layers\.(5\.fc|[0124])\.(weight|bias)', rest):
            return f'backbone.stages.{stage}.blocks.{block}.{_LAYERS[inner[1]]}.{inner[2]}'
    if match := re.fullmatch(r'head\.(norm|fc)\.(weight|bias)', key):
        return f'{"neck.norm" if match[1] == "norm" else "head.fc"}.{match[2]}'
    return None


def timm_rdnet(arch: RDNetArchitecture, weights: Mapping[str, Tensor]) -> nn.Module:
    """timm's model with these weights of timm or of the authors.

    Raises:
        UserError: without timm.
    """
    RDNet = imported('timm.models.rdnet', '`verify` of these weights needs timm').RDNet  # noqa: N806  a class
    stages = range(len(arch.growth_rates))
    model = RDNet(
        in_chans=arch.in_channels,
        num_classes=arch.num_classes,
        growth_rates=arch.growth_rates,
        num_blocks_list=arch.depths,
        block_type=tuple('BlockESE' if ese else 'Block' for ese in arch.ese),
        is_downsample_block=tuple(None if i == 0 else i in arch.downsample for i in stages),
        bottleneck_width_ratio=arch.bottleneck_ratio,
        transition_compression_ratio=arch.compression_factor,
        ls_init_value=1e-6 if arch.layer_scale else 0.0,
        num_init_features=arch.init_channels,
    )
    model.load_state_dict({key.replace('stem.stem.', 'stem.'): value for key, value in weights.items()})
    return model.to(torch.float32)
