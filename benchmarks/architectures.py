"""The DenseNets that are measured, as numbers: what every implementation of them must be built from."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """A dense block's sizes: channels before and after it, its layers, and the side of its feature maps."""

    in_channels: int
    layers: int
    out_channels: int
    side: int


@dataclass(frozen=True)
class Architecture:
    """A DenseNet-BC: bottlenecks of ``bn_size`` * k channels, and transitions that keep half of the channels."""

    growth_rate: int
    depths: tuple[int, ...]
    init_channels: int
    stem: str = 'imagenet'
    classes: int = 1000
    bn_size: int = 4

    @property
    def width(self) -> int:
        """Channels of the bottleneck."""
        return self.bn_size * self.growth_rate

    def stages(self, size: int) -> Iterator[Stage]:
        """The dense blocks for images of ``size`` x ``size``."""
        channels, side = self.init_channels, size
        if self.stem == 'imagenet':  # a convolution and a pooling of stride 2, both padded
            side = (side + 1) // 2
            side = (side + 1) // 2
        for layers in self.depths:
            out = channels + layers * self.growth_rate
            yield Stage(channels, layers, out, side)
            channels, side = out // 2, side // 2

    @property
    def out_channels(self) -> int:
        """Channels before the linear layer."""
        return list(self.stages(224))[-1].out_channels

    @property
    def parameters(self) -> int:
        """Weights and biases of convolutions, norms and the linear layer."""
        k, width = self.growth_rate, self.width
        kernel, norm = (49, 2 * self.init_channels) if self.stem == 'imagenet' else (9, 0)
        total = 3 * self.init_channels * kernel + norm
        stages = list(self.stages(224))
        for i, stage in enumerate(stages):
            for layer in range(stage.layers):
                c = stage.in_channels + layer * k
                total += 2 * c + c * width + 2 * width + 9 * width * k
            total += 2 * stage.out_channels  # the transition's norm, or the last one
            if i < len(stages) - 1:
                total += stage.out_channels * (stage.out_channels // 2)
        return total + (self.out_channels + 1) * self.classes


def _cifar(depth: int, growth_rate: int) -> Architecture:
    """DenseNet-BC of this depth for CIFAR: three blocks, 2k channels in the stem (section 3 of the paper)."""
    layers = (depth - 4) // 6
    return Architecture(growth_rate, (layers,) * 3, 2 * growth_rate, stem='cifar', classes=10)


ARCHITECTURES = {
    '121': Architecture(32, (6, 12, 24, 16), 64),
    '169': Architecture(32, (6, 12, 32, 32), 64),
    '201': Architecture(32, (6, 12, 48, 32), 64),
    '161': Architecture(48, (6, 12, 36, 24), 96),
    '264': Architecture(32, (6, 12, 64, 48), 64),
    'bc-40-12': _cifar(40, 12),
    'bc-100-12': _cifar(100, 12),
    'bc-190-40': _cifar(190, 40),
    'tiny': Architecture(4, (2, 2), 8, classes=10),  # to try the suite
}
