"""DenseNet's inference graph: the same function to rounding, with the constants of inference folded.

Evaluation-mode batch norm is ``a * x + b`` with ``a = gamma / sqrt(var + eps)`` and ``b = beta - mean * a``. So

- the stem's norms fold into the stem's convolutions, and a bottleneck's second norm into its 1x1 convolution:
  ``a * (W x) + b = (a W) x + b``;
- a transition's 1x1 convolution and its 2x2 average pooling are both linear and act on different axes: pooling first
  gives the same with a quarter of the multiplications;
- dropout is the identity.

The norms that read the concatenation remain: a ReLU follows them, and each reader has its own norm, so that they fold
neither into the convolutions before them nor into those after them.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmpretrain.models.backbones import densenet as theirs
from mmpretrain.models.heads import MultiLabelClsHead
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmdensenet.models import BlurPool, DenseNet
from mmdensenet.models import dense_block as ours
from mmdensenet.models.sync_bn import SyncBatchNorm

#: the classes whose instances are computed without calling them
_KNOWN = {
    *(nn.Conv2d, nn.ReLU, nn.MaxPool2d, nn.AvgPool2d, nn.Dropout, nn.Sequential, nn.ModuleList, BlurPool),
    *(getattr(file, name) for file in (ours, theirs) for name in ('DenseBlock', 'DenseLayer', 'DenseTransition')),
}
_NORMS = {cls.forward for cls in (_BatchNorm, nn.SyncBatchNorm, SyncBatchNorm)}


def why_not_foldable(backbone: nn.Module) -> str | None:
    """Return why a backbone cannot be folded, or None for a DenseNet with batch norm and ReLU, which can.

    A network with a forward of its own, or other modules in DenseNet's places, may compute anything: it is not folded.
    """
    for name in ('stem', 'stages', 'transitions'):
        if not hasattr(backbone, name):
            return f'{type(backbone).__name__} is no DenseNet'
    own = type(backbone)
    methods = own.forward, getattr(own, '_stem', None)
    if methods[0] is not theirs.DenseNet.forward and methods != (DenseNet.forward, DenseNet._stem):
        return f'{own.__name__} has a forward of its own'
    for name, module in backbone.named_modules():
        kind = type(module)
        if 'norm' in (name.rpartition('.')[2] + kind.__name__).lower() and kind.forward not in _NORMS:
            return f'{name} is {kind.__name__}, not batch norm'
        if isinstance(module, _BatchNorm) and module.running_mean is None:
            return f'{name} keeps no running statistics'
        if name.rpartition('.')[2] == 'act' and kind is not nn.ReLU:
            return f'{name} is {kind.__name__}, not ReLU'
        if name and kind not in _KNOWN and kind.forward not in _NORMS:
            return f'{name} is {kind.__name__}, which is no part of DenseNet'
        if kind is nn.Conv2d and (module.groups, module.padding_mode) != (1, 'zeros'):
            return f'{name} has groups, or does not pad with zeros'
    if max(backbone.out_indices) != len(backbone.stages) - 1:
        return f'out_indices={tuple(backbone.out_indices)} end before the last stage'
    unit, whole, half = ['Conv2d', 'norm', 'ReLU'], nn.MaxPool2d(3, 2, 1), nn.MaxPool2d(3, 1, 1)
    ends = [_described(whole)], [_described(half), 'BlurPool']
    between = ['norm', 'ReLU', 'pointwise', _described(nn.AvgPool2d(2, 2))]
    *transitions, last = backbone.transitions
    for name, part, expected in (
        ('stem', backbone.stem, [['Conv2d'], *([*unit * n, *end] for n in (1, 3) for end in ends)]),
        *((f'transitions.{i}', transition, [between]) for i, transition in enumerate(transitions)),
        (f'transitions.{len(transitions)}', last, [['norm', 'ReLU']]),
    ):
        if [_described(module) for module in part if type(module) is not nn.Dropout] not in expected:
            return f'{name} has other modules than those of DenseNet'
    return None


def _described(module: nn.Module) -> str:
    """The kind of a module in a stem or transition, with what decides whether it can be folded."""
    kind = type(module)
    if isinstance(module, (nn.MaxPool2d, nn.AvgPool2d)):
        return f'{kind.__name__}{[getattr(module, name) for name in module.__constants__]}'
    if isinstance(module, nn.Conv2d) and (*module.kernel_size, *module.stride, *module.padding) == (1, 1, 1, 1, 0, 0):
        return 'pointwise'
    return 'norm' if kind.forward in _NORMS else kind.__name__


def scale_and_shift(norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    """``a`` and ``b`` of ``norm(x) = a * x + b`` with the running statistics, each (C,) in float64."""
    mean, variance = norm.running_mean.double(), norm.running_var.double()
    gamma = torch.ones_like(mean) if norm.weight is None else norm.weight.detach().double()
    beta = torch.zeros_like(mean) if norm.bias is None else norm.bias.detach().double()
    scale = gamma / torch.sqrt(variance + norm.eps)
    return scale, beta - mean * scale


def fold_into_convolution(conv: nn.Conv2d, norm: _BatchNorm | None) -> nn.Conv2d:
    """A convolution with bias that computes ``norm(conv(x))``; a copy if there is no norm."""
    weight = conv.weight.detach().double()
    bias = None if conv.bias is None else conv.bias.detach().double()
    if norm is not None:
        scale, shift = scale_and_shift(norm)
        weight = weight * scale[:, None, None, None]
        bias = shift if bias is None else bias * scale + shift
    out, into = weight.shape[:2]
    made = nn.Conv2d(
        into, out, conv.kernel_size, conv.stride, conv.padding, conv.dilation, bias=bias is not None, device='meta'
    ).to_empty(device=conv.weight.device)
    made.weight.data = weight.to(conv.weight.dtype)
    if bias is not None:
        made.bias.data = bias.to(conv.weight.dtype)
    return made.requires_grad_(False)


class NormReLU(nn.Module):
    """``relu(norm(x))`` in evaluation mode, as one batch norm with variance 1 - eps and mean 0."""

    def __init__(self, norm: _BatchNorm):
        super().__init__()
        scale, shift = scale_and_shift(norm)
        dtype = norm.running_mean.dtype
        self.register_buffer('scale', scale.to(dtype))
        self.register_buffer('shift', shift.to(dtype))
        self.register_buffer('mean', torch.zeros_like(self.scale))
        self.register_buffer('variance', torch.ones_like(self.scale))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(F.batch_norm(x, self.mean, self.variance, self.scale, self.shift, eps=0.0))


class FoldedLayer(nn.Module):
    """One dense layer: maps all earlier features (N, C, H, W) to k new channels (N, k, H, W)."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.norm = NormReLU(layer.norm1)
        bottleneck = getattr(layer, 'conv2', None) is not None
        self.conv1 = fold_into_convolution(layer.conv1, layer.norm2 if bottleneck else None)
        self.conv2 = fold_into_convolution(layer.conv2, None) if bottleneck else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(self.norm(x))
        return x if self.conv2 is None else self.conv2(F.relu(x))


class FoldedBlock(nn.ModuleList):
    """A dense block of such layers: (N, C, H, W) to (N, C + L * k, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        for layer in self:
            x = torch.cat((x, layer(x)), 1)
        return x


class FoldedTransition(nn.Module):
    """A transition that pools first: (N, C, H, W) to (N, C', H // 2, W // 2)."""

    def __init__(self, transition: nn.Module):
        super().__init__()
        self.norm = NormReLU(transition.norm)
        self.conv = fold_into_convolution(transition.conv, None)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.avg_pool2d(self.norm(x), 2))


class FoldedDenseNet(nn.Module):
    """The features of a DenseNet's last stage, (N, C', H', W'), for images (N, C, H, W); see the module.

    Args:
        backbone: a DenseNet of ours or mmpretrain's; it is copied, not changed.

    Raises:
        ValueError: if it cannot be folded, see :func:`why_not_foldable`.
    """

    def __init__(self, backbone: nn.Module):
        super().__init__()
        if reason := why_not_foldable(backbone):
            raise ValueError(reason)
        parts = list(backbone.stem)
        pooled = len(parts) > 1
        *deep, last = [i for i, part in enumerate(parts) if isinstance(part, nn.Conv2d)]
        #: the convolutions of a deep stem before the last one
        self.deep = nn.ModuleList(fold_into_convolution(parts[i], parts[i + 1]) for i in deep)
        self.stem = fold_into_convolution(parts[last], parts[last + 1] if pooled else None)
        self.blur = parts[-1] if isinstance(parts[-1], BlurPool) else None
        self.pool = nn.MaxPool2d(3, 2 if self.blur is None else 1, 1) if pooled else None
        self.blocks = nn.ModuleList(FoldedBlock(map(FoldedLayer, stage.block)) for stage in backbone.stages)
        self.transitions = nn.ModuleList(map(FoldedTransition, backbone.transitions[:-1]))
        self.norm = NormReLU(backbone.transitions[-1][0])
        #: how many channels of the last norm are the network's own, if :func:`.pad.pad_channels` added others
        self.places: Tensor | None = None

    @property
    def in_channels(self) -> int:
        """The number of channels of the images."""
        return next(iter([*self.deep, self.stem])).in_channels

    def forward(self, x: Tensor) -> tuple[Tensor]:
        for conv in self.deep:
            x = F.relu(conv(x))
        x = self.stem(x)
        if self.pool is not None:
            x = self.pool(F.relu(x))
        if self.blur is not None:
            x = self.blur(x)
        for i, block in enumerate(self.blocks):
            x = block(x)
            x = self.transitions[i](x) if i < len(self.transitions) else self.norm(x)
        return (x if self.places is None else x[:, self.places],)


class ScoresOf(nn.Module):
    """The exported module: maps normalised images (N, C, H, W) to softmax or sigmoid scores (N, classes).

    Args:
        model: an ImageClassifier of :func:`mmdensenet.get_model`, in evaluation mode.
        backbone: replaces the model's own.
    """

    def __init__(self, model: nn.Module, backbone: nn.Module | None = None):
        super().__init__()
        self.backbone = model.backbone if backbone is None else backbone
        self.neck = model.neck if model.with_neck else None
        self.head = model.head
        self.multi_label = isinstance(model.head, MultiLabelClsHead)

    def forward(self, x: Tensor) -> Tensor:
        logits = self.logits(x)
        return torch.sigmoid(logits) if self.multi_label else torch.softmax(logits, 1)

    def logits(self, x: Tensor) -> Tensor:
        """The logits (N, classes) of normalised images."""
        features: Sequence[Tensor] = self.backbone(x)
        if self.neck is not None:
            features = self.neck(features)
        return self.head(features)


def folded(model: nn.Module) -> ScoresOf:
    """Return the folded inference graph of a classifier.

    Args:
        model: an ImageClassifier in evaluation mode.

    Raises:
        ValueError: if its backbone cannot be folded.
    """
    return ScoresOf(model, FoldedDenseNet(model.backbone)).eval()
