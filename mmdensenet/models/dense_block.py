"""The parts of a DenseNet (arXiv:1608.06993): layer, block and transition."""

import functools
from collections.abc import Sequence

import torch
from mmcv.cnn import build_activation_layer, build_norm_layer
from mmengine.logging import MMLogger
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmdensenet import ops
from mmdensenet.terminal import SHOWN

ENGINES = ('auto', 'fused', 'reference')
#: why a module with such a hook is computed by the reference
LEGACY_HOOK = 'a legacy (not full) backward hook receives the gradients of the last operation'


@ops.known
class DenseLayer(BaseModule):
    """One layer H_l: BN-ReLU-Conv(1x1)-BN-ReLU-Conv(3x3), or BN-ReLU-Conv(3x3) with ``bottleneck=False``.

    Calling it with the list of all earlier features, each (N, C_i, H, W), gives the k new channels (N, k, H, W).

    Args:
        in_channels: sum of the C_i.
        growth_rate: k.
        bn_size: width of the bottleneck, in multiples of k.
        norm_cfg, act_cfg: norm and activation, built by mmcv.
        drop_rate: of the dropout behind the layer; ``bottleneck_drop_rate`` of that behind the 1x1 convolution.
        memory_efficient: recompute everything up to the first convolution in backward.
        bottleneck: see above.
    """

    def __init__(
        self,
        in_channels: int,
        growth_rate: int,
        bn_size: int,
        norm_cfg: dict = dict(type='BN'),
        act_cfg: dict = dict(type='ReLU'),
        drop_rate: float = 0.0,
        memory_efficient: bool = False,
        bottleneck: bool = True,
        bottleneck_drop_rate: float = 0.0,
    ):
        super().__init__()
        self.norm1 = build_norm_layer(norm_cfg, in_channels)[1]
        self.act = build_activation_layer(act_cfg)
        if bottleneck:
            width = bn_size * growth_rate
            self.conv1 = nn.Conv2d(in_channels, width, kernel_size=1, bias=False)
            self.norm2 = build_norm_layer(norm_cfg, width)[1]
            self.conv2 = nn.Conv2d(width, growth_rate, kernel_size=3, padding=1, bias=False)
        else:
            self.conv1 = nn.Conv2d(in_channels, growth_rate, kernel_size=3, padding=1, bias=False)
            self.norm2 = self.conv2 = None
        self.drop_rate = float(drop_rate)
        self.bottleneck_drop_rate = float(bottleneck_drop_rate) if bottleneck else 0.0
        self.memory_efficient = memory_efficient

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        return ops.dense_layer(features, self)


@ops.known
class DenseBlock(nn.Module):
    """``num_layers`` dense layers: (N, C0, H, W) to (N, C0 + num_layers * growth_rate, H, W).

    ``bn_size`` and ``layer_kwargs`` are :class:`DenseLayer`'s, ``in_channels`` is C0.

    ``engine`` 'reference' computes them with concatenation. 'fused' computes them without and raises RuntimeError where
    it does not apply. 'auto' uses 'fused' where it applies and logs once why where it does not.
    """

    def __init__(
        self,
        num_layers: int,
        in_channels: int,
        bn_size: int,
        growth_rate: int,
        *,
        engine: str = 'auto',
        **layer_kwargs,
    ):
        super().__init__()
        if engine not in ENGINES:
            raise ValueError(f"engine={engine!r}: choose 'auto', 'fused' or 'reference'")
        self.engine = engine
        self.block = nn.ModuleList(
            DenseLayer(in_channels + i * growth_rate, growth_rate, bn_size, **layer_kwargs) for i in range(num_layers)
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.engine != 'reference' and not ops.is_exporting():
            features = self._fused(x)
            if features is not None:
                return features
        return ops.dense_block(x, self.block)

    def with_transition(
        self, x: Tensor, transition: nn.Module, keep_features: bool = False
    ) -> tuple[Tensor | None, Tensor]:
        """The block's features, None without ``keep_features``, and the transition's output.

        The results are those of calling both modules in turn. The fused block computes them together unless the
        features are kept and need a gradient.
        """
        results = self.fused_with(x, transition, keep_features)
        if results is None:
            features = self(x)
            return (features if keep_features else None), transition(features)
        return results

    def fused_with(
        self, x: Tensor, transition: nn.Module, keep_features: bool = False, contiguous: bool | None = None
    ) -> tuple[Tensor | None, Tensor] | None:
        """As :meth:`with_transition`, or None where the caller has to call both modules.

        ``contiguous`` is whether the reference's features would be in NCHW order; by default, whether x is.
        """
        if self.engine == 'reference' or ops.is_exporting():
            return None
        return self._fused_with(x, transition, keep_features, contiguous)

    @torch.compiler.disable
    def _fused(self, x: Tensor) -> Tensor | None:
        plan = ops.plan_block(x, self.block)
        reason = plan.reason or (LEGACY_HOOK if has_legacy_hook(self) else None)
        if reason is None:
            return ops.compute_block(x, plan)
        if self.engine == 'fused':
            raise RuntimeError(f"engine='fused' does not apply: {reason}. Use engine='auto' or 'reference'.")
        log_once(reason)
        return None

    @torch.compiler.disable
    def _fused_with(
        self, x: Tensor, transition: nn.Module, keep_features: bool, contiguous: bool | None
    ) -> tuple[Tensor | None, Tensor] | None:
        plan = ops.plan_stage(x, self.block, transition, self, contiguous)
        # the transition's output must be a function of the returned features: a caller may differentiate with respect
        # to them, or change them in place
        if plan.reason is not None or (plan.graph and keep_features):
            return None
        features, out = ops.compute_stage(x, plan, keep_features)
        if contiguous is None:
            if plan.contiguous and features is not None:
                features = features.contiguous()
            if plan.out_contiguous:
                out = out.contiguous()
        return features, out


def has_legacy_hook(module: nn.Module) -> bool:
    """Whether a module has hooks of ``register_backward_hook``; torch keeps its mark where they have been removed."""
    return module._is_full_backward_hook is False and bool(module._backward_hooks)


@functools.cache
def log_once(reason: str) -> None:
    logger = MMLogger.get_current_instance()
    logger.info(f'The dense blocks are computed with concatenation: {reason}.', extra=SHOWN)


@ops.known
class DenseTransition(nn.Sequential):
    """BN-ReLU-Conv(1x1)-AvgPool(2x2): (N, C, H, W) to (N, out_channels, H // 2, W // 2).

    ``in_channels`` is C; ``norm_cfg`` and ``act_cfg`` are built by mmcv. A ``drop_rate`` above 0 adds dropout between
    convolution and pooling.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        norm_cfg: dict = dict(type='BN'),
        act_cfg: dict = dict(type='ReLU'),
        drop_rate: float = 0.0,
    ):
        super().__init__()
        self.add_module('norm', build_norm_layer(norm_cfg, in_channels)[1])
        self.add_module('act', build_activation_layer(act_cfg))
        self.add_module('conv', nn.Conv2d(in_channels, out_channels, kernel_size=1, bias=False))
        if drop_rate > 0:
            self.add_module('drop', nn.Dropout(drop_rate))
        self.add_module('pool', nn.AvgPool2d(kernel_size=2, stride=2))
