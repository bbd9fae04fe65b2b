"""The implementations of DenseNet that are measured, built so that all of one architecture have the same layers.

Each candidate is a classifier: images (N, 3, H, W) to scores (N, classes). Where an implementation lacks a model, it is
put together from its own parts: DenseNet-264 and the models for CIFAR with its class, and their stem, one 3x3
convolution, in place of the ImageNet stem.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module

from .architectures import Architecture
from .measure import UnavailableError


@dataclass(frozen=True)
class Candidate:
    """``kind`` is the traffic it moves (see :mod:`benchmarks.traffic`), ``env`` is set before anything is imported."""

    build: Callable
    arguments: dict = field(default_factory=dict)
    channels_last: bool = False
    kind: str = 'eager'
    env: dict[str, str] = field(default_factory=dict)
    needs: Callable[[], None] = lambda: None
    devices: tuple[str, ...] = ('cpu', 'cuda')
    #: the whole step is captured once, and replayed without the processor's part
    graph: bool = False

    @property
    def peer(self) -> bool:
        return self.build is not mmdensenet

    @property
    def memory_efficient(self) -> bool:
        return bool(self.arguments.get('memory_efficient'))

    def model(self, arch: Architecture):
        """The classifier, in its memory format, on torch's default device.

        Raises:
            UnavailableError: if it cannot be built here.
        """
        import torch

        try:
            self.needs()
            model = self.build(arch, **self.arguments)
        except ImportError as error:
            raise UnavailableError(str(error)) from error
        return model.to(memory_format=torch.channels_last) if self.channels_last else model


def mmdensenet(arch: Architecture, **arguments):
    from mmdensenet.models import DenseNet

    return _with_head(DenseNet(_as_dict(arch), bn_size=arch.bn_size, stem=arch.stem, **arguments), arch)


def mmpretrain(arch: Architecture, **arguments):
    _repair()
    from mmpretrain.models.backbones import DenseNet

    backbone = DenseNet(_as_dict(arch), bn_size=arch.bn_size, **arguments)
    if arch.stem == 'cifar':
        from torch import nn

        backbone.stem = nn.Sequential(_cifar_convolution(arch))
    return _with_head(backbone, arch)


def torchvision(arch: Architecture, **arguments):
    _repair()
    from torchvision.models import DenseNet

    model = DenseNet(
        arch.growth_rate, arch.depths, arch.init_channels, arch.bn_size, num_classes=arch.classes, **arguments
    )
    return _cifar_stem(model, arch)


def timm(arch: Architecture, **arguments):
    _repair()
    from timm.models.densenet import DenseNet

    # its stem always has 2k channels, as all of these have
    model = DenseNet(arch.growth_rate, arch.depths, bn_size=arch.bn_size, num_classes=arch.classes, **arguments)
    return _cifar_stem(model, arch)


def _repair() -> None:
    """Let mmpretrain, torchvision and timm, which imports torchvision, work with today's versions."""
    import_module('mmdensenet')
    # mmpretrain's memory_efficient, through torch's wrapper
    warnings.filterwarnings('ignore', message='torch.utils.checkpoint: the use_reentrant parameter')


def _as_dict(arch: Architecture) -> dict:
    return dict(growth_rate=arch.growth_rate, depths=list(arch.depths), init_channels=arch.init_channels)


def _cifar_convolution(arch: Architecture):
    from torch import nn

    return nn.Conv2d(3, arch.init_channels, kernel_size=3, padding=1, bias=False)


def _cifar_stem(model, arch: Architecture):
    """torchvision's and timm's models name the stem's modules alike; timm's norm has the ReLU in it."""
    if arch.stem == 'cifar':
        model.features.conv0 = _cifar_convolution(arch)
        for name in ('norm0', 'relu0', 'pool0'):
            if hasattr(model.features, name):
                delattr(model.features, name)
    return model


def _with_head(backbone, arch: Architecture):
    """Backbone, global average pooling and a linear layer, as torchvision's and timm's models have them."""
    from torch import nn

    class Classifier(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = backbone
            self.fc = nn.Linear(arch.out_channels, arch.classes)

        def forward(self, x):
            return self.fc(self.backbone(x)[-1].mean((2, 3)))

    return Classifier()


def _needs_native() -> None:
    try:
        from mmdensenet.ops.steps import native
    except ImportError:
        raise UnavailableError('this mmdensenet has no C++ kernels') from None
    if reason := native.why_not():
        raise UnavailableError(reason)


_EFFICIENT = dict(memory_efficient=True)
_FUSED = dict(engine='fused')
_PLAIN = dict(kind='fused', env=dict(MMDENSENET_KERNELS='plain'))
_GRAPH = dict(graph=True, devices=('cuda',))
_NATIVE = dict(kind='fused', env=dict(MMDENSENET_KERNELS='native'), needs=_needs_native, devices=('cpu',))

CANDIDATES: dict[str, Candidate] = {
    'mmpretrain': Candidate(mmpretrain),
    'mmpretrain channels_last': Candidate(mmpretrain, channels_last=True),
    'mmpretrain memory_efficient': Candidate(mmpretrain, _EFFICIENT, kind='recompute'),
    'mmpretrain memory_efficient channels_last': Candidate(mmpretrain, _EFFICIENT, True, kind='recompute'),
    'torchvision': Candidate(torchvision),
    'torchvision channels_last': Candidate(torchvision, channels_last=True),
    'torchvision memory_efficient channels_last': Candidate(torchvision, _EFFICIENT, True, kind='recompute'),
    'timm': Candidate(timm),
    'timm channels_last': Candidate(timm, channels_last=True),
    'timm memory_efficient channels_last': Candidate(timm, _EFFICIENT, True, kind='recompute'),
    'mmdensenet reference channels_last': Candidate(mmdensenet, dict(engine='reference'), True),
    'mmdensenet fused, plain torch': Candidate(mmdensenet, _FUSED, **_PLAIN),
    'mmdensenet fused, plain torch, channels_last': Candidate(mmdensenet, _FUSED, True, **_PLAIN),
    'mmdensenet fused, C++ kernels': Candidate(mmdensenet, _FUSED, **_NATIVE),
    'mmdensenet fused, C++ kernels, channels_last': Candidate(mmdensenet, _FUSED, True, **_NATIVE),
    # with whatever kernels it chooses: Triton's on a GPU
    'mmdensenet fused': Candidate(mmdensenet, _FUSED, kind='fused'),
    'mmdensenet fused channels_last': Candidate(mmdensenet, _FUSED, True, kind='fused'),
    'mmpretrain, CUDA graph': Candidate(mmpretrain, **_GRAPH),
    'torchvision channels_last, CUDA graph': Candidate(torchvision, channels_last=True, **_GRAPH),
    'timm channels_last, CUDA graph': Candidate(timm, channels_last=True, **_GRAPH),
    'mmdensenet fused channels_last, CUDA graph': Candidate(mmdensenet, _FUSED, True, kind='fused', **_GRAPH),
}

_NOT_BY_DEFAULT = {
    'cpu': {
        'mmpretrain channels_last',
        'mmpretrain memory_efficient channels_last',
        'timm memory_efficient channels_last',
        'mmdensenet fused',
        'mmdensenet fused channels_last',
    },
    'cuda': {
        'mmpretrain memory_efficient',
        'timm memory_efficient channels_last',
        'mmdensenet fused, plain torch',
        'mmpretrain, CUDA graph',
        'torchvision channels_last, CUDA graph',
    },
}
#: measured unless others are named
DEFAULTS = {
    device: [name for name, candidate in CANDIDATES.items() if device in candidate.devices and name not in left_out]
    for device, left_out in _NOT_BY_DEFAULT.items()
}
