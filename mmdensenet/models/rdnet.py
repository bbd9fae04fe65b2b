"""RDNet ("DenseNets Reloaded", arXiv:2403.19588, ECCV 2024) as an OpenMMLab backbone."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmdensenet import ops
from mmdensenet.registry import MODELS

from .backbone import Backbone, check_size
from .dense_block import ENGINES, LEGACY_HOOK, has_legacy_hook, log_once

#: of all norms but the head's
EPS = 1e-6
ADVICE = 'All four levels need at least 32x32 pixels.'


@ops.known
class LayerNorm2d(nn.LayerNorm):
    """Layer norm over the channels of (N, C, H, W), with ``eps`` added to the variance."""

    def __init__(self, channels: int, eps: float = EPS):
        super().__init__(channels, eps)

    def forward(self, x: Tensor) -> Tensor:
        x = F.layer_norm(x.permute(0, 2, 3, 1), self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


@ops.known
class EffectiveSE(nn.Module):
    """Effective squeeze and excitation (arXiv:1911.06667, section 3.3): one 1x1 convolution of the spatial mean."""

    def __init__(self, channels: int):
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Conv2d(channels, channels, kernel_size=1)
        self.gate = nn.Hardsigmoid()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(self.fc(self.pool(x)))


@ops.known
class RDNetBlock(nn.Module):
    """Depthwise 7x7 convolution, layer norm, 1x1 to ``hidden`` channels, GELU, 1x1 to ``growth_rate``.

    Calling it with the list of all earlier features, each (N, C_i, H, W), and a mask of drop path, (N, 1, 1, 1) or
    None, gives the new channels (N, growth_rate, H, W).
    """

    def __init__(self, channels: int, growth_rate: int, hidden: int, ese: bool, layer_scale_init_value: float):
        super().__init__()
        self.dwconv = nn.Conv2d(channels, channels, kernel_size=7, padding=3, groups=channels)
        self.norm = LayerNorm2d(channels)
        self.pwconv1 = nn.Conv2d(channels, hidden, kernel_size=1)
        self.act = nn.GELU()
        self.pwconv2 = nn.Conv2d(hidden, growth_rate, kernel_size=1)
        self.ese = EffectiveSE(growth_rate) if ese else None
        scaled = layer_scale_init_value > 0
        self.gamma = nn.Parameter(layer_scale_init_value * torch.ones(growth_rate)) if scaled else None

    def forward(self, features: Sequence[Tensor], mask: Tensor | None = None) -> Tensor:
        x = self.norm(self.dwconv(torch.cat(tuple(features), 1)))
        x = self.pwconv2(self.act(self.pwconv1(x)))
        if self.ese is not None:
            x = self.ese(x)
        if self.gamma is not None:
            x = x * self.gamma[:, None, None]
        return x if mask is None else x * mask


class RDNetStage(nn.Module):
    """Layer norm, convolution and blocks: (N, C, H, W) to (N, C', H', W'). The first stage has blocks only.

    Args:
        in_channels: C.
        growth_rate: new channels of each block.
        drop_path_rates: the rate of each block.
        compress: output channels and kernel size of the convolution, whose stride is its kernel size; None for the
            first stage.
        bottleneck_ratio: hidden channels of a block, in multiples of its input's.
        ese: whether blocks end with effective squeeze-and-excitation.
        layer_scale_init_value: of the scale of each block's output.
        engine: 'auto', 'fused' or 'reference', how the stage is computed; see :class:`RDNet`.
        memory_efficient: compute the hidden tensors again in backward instead of keeping them.
    """

    def __init__(
        self,
        in_channels: int,
        growth_rate: int,
        drop_path_rates: Sequence[float],
        *,
        compress: tuple[int, int] | None,
        bottleneck_ratio: float,
        ese: bool,
        layer_scale_init_value: float,
        engine: str,
        memory_efficient: bool,
    ):
        super().__init__()
        self.norm = self.conv = None
        if compress is not None:
            channels, self.stride = compress
            self.norm = LayerNorm2d(in_channels)
            self.conv = nn.Conv2d(in_channels, channels, kernel_size=self.stride, stride=self.stride)
            in_channels = channels
        self.blocks = nn.ModuleList()
        for _ in drop_path_rates:
            hidden = _share(in_channels, bottleneck_ratio, 'bottleneck_ratio')
            self.blocks.append(RDNetBlock(in_channels, growth_rate, hidden, ese, layer_scale_init_value))
            in_channels += growth_rate
        self.drop_path_rates = tuple(drop_path_rates)
        self.out_channels = in_channels
        self.engine = engine
        self.memory_efficient = memory_efficient

    def forward(self, x: Tensor, concatenated: bool = False) -> Tensor:
        """``concatenated`` selects the reference, whose last operation is a concatenation."""
        if self.conv is not None:
            check_size(x, self.stride, 'RDNet', ADVICE)
            x = self.conv(self.norm(x))
        gammas = [getattr(block, 'gamma', None) for block in self.blocks]
        masks = [self._mask(x, rate, gamma) for rate, gamma in zip(self.drop_path_rates, gammas)]
        if not concatenated and self._is_buffered(x):
            return ops.buffered_rdnet_stage(x, self.blocks, masks, self.memory_efficient)
        return ops.rdnet_stage(x, self.blocks, masks)

    def _mask(self, x: Tensor, rate: float, gamma: Tensor | None = None) -> Tensor | None:
        """Drop path (arXiv:1603.09382): (N, 1, 1, 1), 0 for dropped images and 1 / (1 - rate) for the others."""
        if not self.training or rate == 0:
            return None
        # of the type that gamma gives the channels under autocast: in bfloat16, 1 / 0.85 is 0.3 % too large
        dtype = x.dtype if gamma is None else torch.promote_types(x.dtype, gamma.dtype)
        return torch.empty((len(x), 1, 1, 1), dtype=dtype, device=x.device).bernoulli_(1 - rate) / (1 - rate)

    def _is_buffered(self, x: Tensor) -> bool:
        if self.engine == 'reference' or ops.is_exporting():
            return False
        reason = LEGACY_HOOK if has_legacy_hook(self) else ops.why_not_buffered(x, self.blocks)
        if reason is not None and self.engine == 'fused':
            raise RuntimeError(f"engine='fused' does not apply: {reason}. Use engine='auto' or 'reference'.")
        if reason is not None:
            log_once(reason)
        return reason is None


def _share(channels: int, factor: float, name: str) -> int:
    share = int(channels * factor / 8) * 8
    if share < 8:
        raise ValueError(f'{name}={factor}: none of {channels} channels is left, rounded down to a multiple of 8')
    return share


ops.watch(globals(), 'F')


@MODELS.register_module()
class RDNet(Backbone):
    """RDNet: a DenseNet of ConvNeXt's blocks, with layer norm and without batch norm.

    The stem convolves patches of 4x4 pixels. Stages of three blocks follow; each block reads all earlier features of
    its stage. From the second stage on, a layer norm and a convolution halve the channels first, and in a downsampling
    stage also height and width. The stages from one downsampling to the next form a *level*. There are four levels, at
    strides 4, 8, 16 and 32; ``out_indices`` and ``frozen_stages`` count levels, as configs of detectors do.

    Args:
        arch: 'tiny', 'small', 'base' or 'large', or a dict with ``growth_rates`` (of each stage), ``downsample`` (the
            stages, counted from 0, that halve height and width), ``init_channels`` (of the stem), and optionally
            ``depths`` (blocks of each stage, by default 3) and ``ese`` (whether each stage's blocks end with effective
            squeeze and excitation, by default from stage 2 on).
        in_channels: channels of the image.
        bottleneck_ratio: channels between the two 1x1 convolutions, relative to the block's input channels.
        compression_factor: share of the channels that a stage's first convolution keeps, rounded down to a multiple of
            8.
        drop_path_rate: of the last block; the rates rise linearly from 0. The authors train with 0.15, 0.35, 0.4 and
            0.5.
        layer_scale_init_value: initial value of gamma, a factor for each new channel; 0 omits gamma.
        out_indices: the levels whose features are returned, negative ones counted from the end. A level returns the
            features of its last stage: for 'tiny' 256, 440, 744 and 1040 channels. No norm follows; the classifier's is
            in :class:`NormedAveragePooling`.
        frozen_stages: freeze the stem and the first ``frozen_stages`` levels. 0 and -1 freeze nothing.
        norm_eval: has no effect, because layer norm has no running statistics; configs of detectors may set it.
        memory_efficient: with the fused engine, recompute the hidden tensors, four times as wide as a block's input, in
            backward instead of saving them.
        engine: 'reference' concatenates; 'fused' writes a stage's features into one buffer and gives the same results
            to rounding; 'auto' uses 'fused' where it applies and logs once why where it does not (see
            :func:`mmdensenet.ops.why_not_buffered`). Export and tracing always use the reference. Checkpoints do not
            depend on it.
        channels_last: keep weights and activations in NHWC order in memory; from the stem's norm on, activations are in
            that order either way.
        init_cfg: None gives the authors' initialisation, He et al.'s (normal, fan-in) for convolutions.
        freeze_stem: freeze the stem, whatever ``frozen_stages`` is.

    Raises:
        ValueError: for an unknown ``arch`` or ``engine``, an inconsistent arch, levels that do not exist, and a
            ``drop_path_rate`` outside [0, 1).
        UserError: in ``forward``, for images of which nothing is left before the last level.
    """

    arch_settings = {
        'tiny': dict(growth_rates=[64, 104, *[128] * 4, 224], downsample=[1, 2, 6], init_channels=64),
        'small': dict(growth_rates=[64, 128, *[128] * 7, 240, 240], downsample=[1, 2, 9], init_channels=72),
        'base': dict(growth_rates=[96, 128, *[168] * 7, 336, 336], downsample=[1, 2, 9], init_channels=120),
        'large': dict(growth_rates=[128, 192, *[256] * 8, 360, 360], downsample=[1, 2, 10], init_channels=144),
    }

    def __init__(
        self,
        arch: str | dict = 'tiny',
        in_channels: int = 3,
        bottleneck_ratio: float = 4.0,
        compression_factor: float = 0.5,
        drop_path_rate: float = 0.0,
        layer_scale_init_value: float = 1e-6,
        out_indices: int | Sequence[int] = -1,
        frozen_stages: int = 0,
        norm_eval: bool = False,
        memory_efficient: bool = False,
        engine: str = 'auto',
        channels_last: bool = False,
        init_cfg: dict | list[dict] | None = None,
        *,
        freeze_stem: bool = False,
    ):
        super().__init__(init_cfg=init_cfg)
        arch = self._resolve_arch(arch)
        if engine not in ENGINES:
            raise ValueError(f"engine={engine!r}: choose 'auto', 'fused' or 'reference'")
        if not 0 <= drop_path_rate < 1:
            raise ValueError(f'drop_path_rate={drop_path_rate}: give a probability from 0 to below 1')
        self.growth_rates, self.depths = arch['growth_rates'], arch['depths']
        self.num_stages = len(self.growth_rates)
        starts = [0, *arch['downsample']]
        #: the first stage of each level, then the number of stages
        self.level_bounds = (*starts, self.num_stages)
        self.num_levels = len(starts)
        self._set_levels(self.num_levels, 'levels', out_indices, frozen_stages, freeze_stem)
        self.norm_eval = norm_eval

        channels = arch['init_channels']
        self.stem = nn.Sequential(nn.Conv2d(in_channels, channels, kernel_size=4, stride=4), LayerNorm2d(channels))
        rates = torch.linspace(0, drop_path_rate, sum(self.depths), device='cpu').split(self.depths)
        self.stages = nn.ModuleList()
        for i, growth_rate in enumerate(self.growth_rates):
            compress = None
            if i > 0:
                compress = _share(channels, compression_factor, 'compression_factor'), 2 if i in starts else 1
            stage = RDNetStage(
                channels,
                growth_rate,
                rates[i].tolist(),
                compress=compress,
                bottleneck_ratio=bottleneck_ratio,
                ese=arch['ese'][i],
                layer_scale_init_value=layer_scale_init_value,
                engine=engine,
                memory_efficient=memory_efficient,
            )
            channels = stage.out_channels
            self.stages.append(stage)
        ends = [self.stages[bound - 1].out_channels for bound in self.level_bounds[1:]]
        #: channels of each returned feature map, for the neck that follows
        self.out_channels = tuple(ends[level] for level in self.out_indices)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
        self.channels_last = channels_last
        self.to(memory_format=self.memory_format)
        self._freeze_stages()

    def _resolve_arch(self, arch: str | dict) -> dict:
        arch = self._settings_of(arch, {'growth_rates', 'downsample', 'init_channels'}, ('depths', 'ese'))
        growth_rates, downsample = tuple(arch['growth_rates']), tuple(arch['downsample'])
        stages = len(growth_rates)
        if not stages or min(*growth_rates, arch['init_channels']) < 1:
            raise ValueError(f'arch: growth_rates={growth_rates} and init_channels are to be positive')
        if list(downsample) != sorted({i for i in downsample if 0 < i < stages}):
            raise ValueError(
                f'arch: downsample={downsample} are to be stages from 1 to {stages - 1}, in ascending order'
            )
        depths = tuple(arch.get('depths', (3,) * stages))
        ese = tuple(arch.get('ese', [i >= 2 for i in range(stages)]))
        for name, values in (('depths', depths), ('ese', ese)):
            if len(values) != stages:
                raise ValueError(f'arch: {name} has {len(values)} values for the {stages} stages of growth_rates')
        return dict(arch, growth_rates=growth_rates, downsample=downsample, depths=depths, ese=ese)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Features of the levels in ``out_indices``, in ascending order, for images (N, in_channels, H, W)."""
        x = self._laid_out(x)
        check_size(x, 4, 'RDNet', ADVICE)
        x = self.stem(x)
        outs = []
        for level in range(self.out_indices[-1] + 1):
            for stage in self._level_modules(level):
                # a legacy backward hook of the network receives the gradients of the last operation
                x = stage(x, concatenated=True) if has_legacy_hook(self) else stage(x)
            if level in self.out_indices:
                outs.append(x)
        return tuple(outs)

    def _level_modules(self, level: int) -> list[nn.Module]:
        return list(self.stages[self.level_bounds[level] : self.level_bounds[level + 1]])

    def _level_of_stage(self, stage: int) -> int:
        return sum(start <= stage for start in self.level_bounds[:-1]) - 1


@MODELS.register_module()
class NormedAveragePooling(nn.Module):
    """RDNet's neck: the mean over height and width, then layer norm.

    Args:
        in_channels: C, the channels of the last features.
        eps: of the norm. timm uses 1e-6, as do the published scores; the authors' code uses 1e-5.
    """

    def __init__(self, in_channels: int, eps: float = EPS):
        super().__init__()
        self.gap = nn.AdaptiveAvgPool2d(1)
        self.norm = nn.LayerNorm(in_channels, eps)

    def forward(self, inputs: Tensor | Sequence[Tensor]) -> tuple[Tensor]:
        """Map features (N, C, H, W), or the last of several, to a tuple of one tensor (N, C)."""
        x = inputs if isinstance(inputs, Tensor) else inputs[-1]
        return (self.norm(self.gap(x).flatten(1)),)
