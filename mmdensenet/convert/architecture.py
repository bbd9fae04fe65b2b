"""Infers the architecture of a DenseNet from the shapes of its tensors under our names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor, nn

from mmdensenet.errors import UserError

from .classifier import ClassifierArchitecture, layers_per_stage
from .rdnet_weights import RDNetArchitecture, infer_rdnet, is_rdnet


@dataclass
class Architecture(ClassifierArchitecture):
    """The arguments of :class:`mmdensenet.models.DenseNet`, and the number of classes (None without a head)."""

    growth_rate: int
    depths: tuple[int, ...]
    init_channels: int
    in_channels: int
    bn_size: int
    bottleneck: bool
    compression_factor: float
    stem: str
    #: no tensor shows it; of the models with a deep stem, timm's densenetblur121d has it
    stem_blur: bool
    num_classes: int | None
    features: int = field(default=0)
    #: of batch normalisation; no tensor shows it either, but the layout does
    norm_eps: float = 1e-5
    #: the backbone's name in the registry
    kind: ClassVar[str] = 'mmdensenet.DenseNet'

    @property
    def name(self) -> str:
        """'DenseNet-121', 'DenseNet-264 (deep stem, k=48)', or 'DenseNet-BC (L=40, k=12)' for images like CIFAR's."""
        layers = (2 if self.bottleneck else 1) * sum(self.depths) + len(self.depths) + 1
        letters = ('B' if self.bottleneck else '') + ('C' if self.compression_factor < 1 else '')
        if self.stem == 'cifar' or not self.bottleneck or self.compression_factor != 0.5:
            return f'DenseNet{letters and "-" + letters} (L={layers}, k={self.growth_rate})'
        layers = {265: 264, 233: 232}.get(layers, layers)  # the authors' names of these two count one layer fewer
        standard = {121: 32, 169: 32, 201: 32, 264: 32, 161: 48}.get(layers)
        others = ['deep stem'] if self.stem == 'deep' else []
        others += [] if standard == self.growth_rate else [f'k={self.growth_rate}']
        return f'DenseNet-{layers}' + (f' ({", ".join(others)})' if others else '')

    def backbone(self, in_channels: int | None = None) -> dict:
        """The arguments of the backbone."""
        norm = {} if self.norm_eps == 1e-5 else dict(norm_cfg=dict(type='BN', eps=self.norm_eps))
        return dict(
            arch=dict(growth_rate=self.growth_rate, depths=self.depths, init_channels=self.init_channels),
            in_channels=in_channels or self.in_channels,
            bn_size=self.bn_size,
            bottleneck=self.bottleneck,
            compression_factor=self.compression_factor,
            stem=self.stem,
            stem_blur=self.stem_blur,
            **norm,
        )

    def neck(self) -> dict:
        """Type and arguments of a classifier's neck."""
        return dict(type='GlobalAveragePooling')

    @property
    def side(self) -> int:
        """Height and width of the images for which it is made."""
        return 32 if self.stem == 'cifar' else 224

    def modules(self) -> tuple[nn.Module, nn.Module]:
        from mmdensenet.models import DenseNet

        return DenseNet(**self.backbone()), _Mean()

    def __str__(self) -> str:
        blocks = '-'.join(map(str, self.depths))
        classes = 'no head' if self.num_classes is None else f'{self.num_classes} classes'
        return (
            f'{self.name}: growth rate {self.growth_rate}, blocks {blocks}, {self.init_channels} channels in the stem, '
            f'{self.in_channels} input channels, {classes}'
        )


class _Mean(nn.Module):
    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor]:
        return (features[-1].mean((2, 3)),)


def infer(tensors: Mapping[str, Tensor]) -> Architecture | RDNetArchitecture:
    """The architecture of tensors under our names.

    Raises:
        UserError: if our backbones cannot build the DenseNet or RDNet of these tensors.
    """
    try:
        return infer_rdnet(tensors) if is_rdnet(tensors) else _infer(tensors)
    except KeyError as error:
        raise UserError(f'these weights are incomplete: {error.args[0]} is missing.') from error


def _infer(tensors: Mapping[str, Tensor]) -> Architecture:
    stem = tensors['backbone.stem.0.weight']
    if stem.dim() != 4:
        raise UserError(f'the first convolution has {stem.dim() - 2} dimensions: only images (2) are supported.')
    depths = layers_per_stage(tensors, r'backbone\.stages\.(\d+)\.block\.(\d+)\.')
    first = 'backbone.stages.0.block.0'
    bottleneck = f'{first}.conv2.weight' in tensors
    width = tensors[f'{first}.conv1.weight'].shape[0]
    growth_rate = tensors[f'{first}.conv2.weight'].shape[0] if bottleneck else width
    kernel, norm = stem.shape[2], 'backbone.stem.1.weight' in tensors
    deep = kernel == 3 and norm and 'backbone.stem.6.weight' in tensors
    if (kernel, norm) not in ((7, True), (3, False)) and not deep:
        raise UserError(
            f'the stem, a {kernel}x{kernel} convolution {"with" if norm else "without"} norm, is neither that of '
            'ImageNet (7x7, with norm; or three 3x3) nor of CIFAR (3x3, without).'
        )
    init_channels = tensors['backbone.stem.6.weight' if deep else 'backbone.stem.0.weight'].shape[0]
    compression = 1.0
    if len(depths) > 1:
        after, before = tensors['backbone.transitions.0.conv.weight'].shape[:2]
        compression = 0.5 if after == before // 2 else after / before
    head = tensors.get('head.fc.weight')
    return Architecture(
        growth_rate=growth_rate,
        depths=depths,
        init_channels=init_channels,
        in_channels=stem.shape[1],
        bn_size=width // growth_rate if bottleneck else 4,
        bottleneck=bottleneck,
        compression_factor=compression,
        stem='deep' if deep else 'imagenet' if norm else 'cifar',
        stem_blur=deep and (growth_rate, depths) == (32, (6, 12, 24, 16)),
        num_classes=None if head is None else head.shape[0],
        features=tensors[f'backbone.transitions.{len(depths) - 1}.0.weight'].shape[0],
    )
