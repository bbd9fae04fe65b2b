"""DenseNet (arXiv:1608.06993) as an OpenMMLab backbone."""

import math
from collections.abc import Sequence

import torch
from mmcv.cnn import build_activation_layer, build_norm_layer
from torch import Tensor, nn

from mmdensenet import ops
from mmdensenet.registry import MODELS

from .backbone import Backbone, check_size
from .blur_pool import BlurPool
from .dense_block import DenseBlock, DenseTransition, has_legacy_hook
from .dense_block import DenseLayer as DenseLayer

DROP_AFTER = ('layer', 'convolution')


@MODELS.register_module()
class DenseNet(Backbone):
    """DenseNet, DenseNet-B, -C and -BC (arXiv:1608.06993), for ImageNet-like and CIFAR-like images.

    A drop-in for mmpretrain's DenseNet: the same arguments, defaults, state-dict keys and outputs, so OpenMMLab's
    published checkpoints load with ``strict=True``.

    Args:
        arch: '121', '161', '169', '201', '264' (table 1 of the paper; 264 as in its first author's code), or a dict
            with ``growth_rate`` (k), ``depths`` (layers per block) and ``init_channels`` (channels of the stem).
        in_channels: channels of the image.
        bn_size: channels of the bottleneck, as a multiple of k.
        drop_rate: probability of dropout. The paper uses 0.2 on CIFAR and SVHN without augmentation.
        compression_factor: share of channels that a transition keeps (theta); 1.0 means no compression.
        memory_efficient: in dense blocks that are computed with concatenation, recompute norms and activations in
            backward instead of storing them (arXiv:1707.06990). Each batch updates the running statistics once. The
            fused blocks never store norms and activations.
        norm_cfg, act_cfg: norm and activation, built by mmcv.
        out_indices: the stages whose features are returned, negative ones counted from the end.
        frozen_stages: freeze the stem and the first ``frozen_stages`` stages with their transitions: weights and
            running statistics. 0 and -1 freeze nothing, as in mmpretrain; mmdet's ResNets freeze their stem at 0, which
            is ``freeze_stem`` here.
        init_cfg: None gives He et al.'s initialisation, as in the paper's code (normal, fan-out).
        bottleneck: False gives the plain layer, BN-ReLU-Conv(3x3).
        stem: 'imagenet' (7x7 stride 2, norm, activation, 3x3 max pooling stride 2), 'deep' (three 3x3 in place of the
            7x7, the first of stride 2, with half of ``init_channels`` in the first two) or 'cifar' (3x3 stride 1).
        norm_eval: keep all batch norms in evaluation mode while training.
        out_before_transition: return each stage's features before its transition, at strides 4, 8, 16 and 32 with the
            ImageNet stem, as detectors need. The last stage has no transition; its final norm and activation are
            applied either way.
        channels_last: keep weights and activations in NHWC order in memory, which is faster on GPUs under mixed
            precision and on CPUs. Shapes, results and checkpoints stay the same.
        stem_blur: give the stem's max pooling stride 1 and add BlurPool with stride 2; the transitions do not change.
            timm's densenetblur121d is so, with the stem 'deep'.
        drop_after: 'layer' puts dropout after each dense layer, as mmpretrain does; 'convolution' after each
            convolution but the first, that is, also after bottlenecks and in transitions, as in the paper (section
            4.2).
        engine: 'reference' computes dense blocks with concatenation; 'fused' computes them without, needs less memory
            and time and gives the same results to rounding; 'auto' uses 'fused' where it applies and logs once why
            where it does not (see :func:`mmdensenet.ops.why_not_fused`). Export and tracing always use the reference.
            Checkpoints do not depend on it.
        freeze_stem: freeze the stem, whatever ``frozen_stages`` is.

    Raises:
        ValueError: for an unknown ``arch``, ``stem`` or ``drop_after``, a blur without pooling, stages that do not
            exist, and a ``drop_rate`` outside [0, 1).
        UserError: in ``forward``, for images of which nothing is left before the last transition.
    """

    arch_settings = {
        '121': dict(growth_rate=32, depths=[6, 12, 24, 16], init_channels=64),
        '169': dict(growth_rate=32, depths=[6, 12, 32, 32], init_channels=64),
        '201': dict(growth_rate=32, depths=[6, 12, 48, 32], init_channels=64),
        '161': dict(growth_rate=48, depths=[6, 12, 36, 24], init_channels=96),
        '264': dict(growth_rate=32, depths=[6, 12, 64, 48], init_channels=64),
    }

    def __init__(
        self,
        arch: str | dict = '121',
        in_channels: int = 3,
        bn_size: int = 4,
        drop_rate: float = 0,
        compression_factor: float = 0.5,
        memory_efficient: bool = False,
        norm_cfg: dict = dict(type='BN'),
        act_cfg: dict = dict(type='ReLU'),
        out_indices: int | Sequence[int] = -1,
        frozen_stages: int = 0,
        init_cfg: dict | list[dict] | None = None,
        *,
        bottleneck: bool = True,
        stem: str = 'imagenet',
        norm_eval: bool = False,
        out_before_transition: bool = False,
        channels_last: bool = False,
        engine: str = 'auto',
        drop_after: str = 'layer',
        stem_blur: bool = False,
        freeze_stem: bool = False,
    ):
        if init_cfg is None:
            init_cfg = [
                dict(type='Kaiming', layer='Conv2d', mode='fan_out', nonlinearity='relu'),
                dict(type='Constant', val=1, layer=['_BatchNorm', 'GroupNorm']),
            ]
        super().__init__(init_cfg=init_cfg)
        arch = self._settings_of(arch, {'growth_rate', 'depths', 'init_channels'})
        self.growth_rate = arch['growth_rate']
        self.depths = tuple(arch['depths'])
        self.init_channels = arch['init_channels']
        self.num_stages = len(self.depths)
        self._set_levels(self.num_stages, 'stages', out_indices, frozen_stages, freeze_stem)
        if not 0 <= drop_rate < 1:
            raise ValueError(f'drop_rate={drop_rate}: give a probability from 0 to below 1')
        if drop_after not in DROP_AFTER:
            raise ValueError(f"drop_after={drop_after!r}: choose 'layer' or 'convolution'")
        inner_drop_rate = drop_rate if drop_after == 'convolution' else 0.0
        self.norm_eval = norm_eval
        self.engine = engine
        self.out_before_transition = out_before_transition

        self.act = build_activation_layer(act_cfg)
        self.stem = self._make_stem(stem, in_channels, norm_cfg, stem_blur)
        self.stages = nn.ModuleList()
        self.transitions = nn.ModuleList()
        stage_channels = []
        channels = self.init_channels
        for i, depth in enumerate(self.depths):
            self.stages.append(
                DenseBlock(
                    depth,
                    channels,
                    bn_size,
                    self.growth_rate,
                    norm_cfg=norm_cfg,
                    act_cfg=act_cfg,
                    drop_rate=drop_rate,
                    memory_efficient=memory_efficient,
                    bottleneck=bottleneck,
                    bottleneck_drop_rate=inner_drop_rate,
                    engine=engine,
                )
            )
            channels += depth * self.growth_rate
            block_channels = channels
            if i < self.num_stages - 1:
                channels = math.floor(channels * compression_factor)
                self.transitions.append(DenseTransition(block_channels, channels, norm_cfg, act_cfg, inner_drop_rate))
            else:
                # the paper's last norm and activation, under the names of mmpretrain's checkpoints
                self.transitions.append(nn.Sequential(build_norm_layer(norm_cfg, channels)[1], self.act))
            stage_channels.append(block_channels if out_before_transition else channels)
        #: channels of each returned feature map, for the neck that follows
        self.out_channels = tuple(stage_channels[i] for i in self.out_indices)
        self.channels_last = channels_last
        self.to(memory_format=self.memory_format)
        self._freeze_stages()

    def _make_stem(self, stem: str, in_channels: int, norm_cfg: dict, blur: bool) -> nn.Sequential:
        if stem == 'cifar':
            if blur:
                raise ValueError("stem_blur=True: the stem 'cifar' has no pooling")
            return nn.Sequential(nn.Conv2d(in_channels, self.init_channels, kernel_size=3, padding=1, bias=False))
        if stem not in ('imagenet', 'deep'):
            raise ValueError(f"stem={stem!r}: choose 'imagenet' or 'cifar', or 'deep'")
        half = self.init_channels // 2
        convolutions = [(half, 3), (half, 3), (self.init_channels, 3)] if stem == 'deep' else [(self.init_channels, 7)]
        parts: list[nn.Module] = []
        for i, (channels, kernel) in enumerate(convolutions):
            stride = 2 if i == 0 else 1
            parts += [
                nn.Conv2d(in_channels, channels, kernel, stride=stride, padding=kernel // 2, bias=False),
                build_norm_layer(norm_cfg, channels)[1],
                self.act,
            ]
            in_channels = channels
        parts.append(nn.MaxPool2d(kernel_size=3, stride=1 if blur else 2, padding=1))
        return nn.Sequential(*parts, *([BlurPool()] if blur else []))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Features of the stages in ``out_indices``, in ascending order, for images (N, in_channels, H, W)."""
        # a legacy backward hook receives the gradients of the last operation, which must then be a module's
        concatenated = has_legacy_hook(self)
        x, contiguous = self._stem(self._laid_out(x))
        outs = []
        last_needed = self.out_indices[-1]
        for i in range(last_needed + 1):
            stage, transition = self.stages[i], self.transitions[i]
            before_transition = self.out_before_transition and i < self.num_stages - 1
            if before_transition and i == last_needed:
                outs.append(stage(x.contiguous() if contiguous else x))
                break
            pool = getattr(transition, 'pool', None)  # it may have been replaced, as for dilated features
            if type(pool) is nn.AvgPool2d and (pool.kernel_size, pool.padding, pool.ceil_mode) == (2, 0, False):
                check_size(x, 2, 'DenseNet', "Enlarge the images; for small ones there is stem='cifar'.")
            # a stage may have been replaced by another module, such as a wrapper
            results = None
            if not concatenated and isinstance(stage, DenseBlock):
                results = stage.fused_with(x, transition, before_transition and i in self.out_indices, contiguous)
            out_contiguous = contiguous
            if results is None:
                features = stage(x.contiguous() if contiguous else x)
                results = features, transition(features)
                out_contiguous = contiguous and _is_contiguous(results[1])
            elif contiguous:
                out_contiguous = not ops.is_channels_last(transition.conv.weight)
            features, x = results
            if i in self.out_indices:
                out = features if before_transition else x
                if contiguous if before_transition else out_contiguous:
                    out = out.contiguous()
                outs.append(out)
                # asked in this order, a tracer such as torch.fx need not know whether there is a gradient
                if out is not x and not before_transition and out.requires_grad:
                    x = out  # the next stage reads the returned tensor, so that gradients with respect to it are right
            contiguous = out_contiguous
        return tuple(outs)

    def _run_stem(self, x: Tensor) -> Tensor:
        return self._stem(x)[0]

    def _stem(self, x: Tensor) -> tuple[Tensor, bool]:
        """The stem's output, and whether the reference's would be contiguous in NCHW order."""
        if self.engine == 'reference' or ops.is_exporting() or not ops.is_stem(x, self.stem):
            x = self.stem(x)
            return x, not ops.is_exporting() and _is_contiguous(x)
        convolution, *others = self.stem
        out = ops.evaluate_stem(x, self.stem)
        if out is not None:
            return out, x.is_contiguous() and convolution.weight.is_contiguous()
        x = convolution(x)
        contiguous = _is_contiguous(x)
        out = ops.fused_stem(x, self.stem)
        if out is None:
            out = x
            for module in others:
                out = module(out)
        return out, contiguous

    def _level_modules(self, level: int) -> list[nn.Module]:
        return [self.stages[level], self.transitions[level]]


def _is_contiguous(x: Tensor) -> bool:
    return type(x) is Tensor and x.layout is torch.strided and x.is_contiguous()
