"""The dense block in evaluation without gradients: the second norm's scale goes into the 1x1 convolution."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .norms import affine
from .reference import DenseLayerModules, TransitionModules
from .rows import as_images, as_rows, new_buffer
from .steps import steps_for


def evaluate_block(
    x: Tensor, layers: Sequence[DenseLayerModules], transition: TransitionModules | None, keep_features: bool
) -> tuple[Tensor | None, Tensor | None]:
    """Arguments and results are those of :func:`~mmdensenet.ops.fused_dense_stage`; x is of the type to compute in."""
    steps = steps_for(x, x.dtype)
    wide = torch.promote_types(x.dtype, torch.float32)
    n, c0, h, w = x.shape
    whole = getattr(steps, 'evaluate_stage', None)
    if whole is not None and layers[0].conv2 is not None:
        features, out = whole(
            as_rows(x),
            (n, h, w),
            [_evaluation_tensors(layer.norm1, layer.conv1, layer.norm2, layer.conv2) for layer in layers],
            None if transition is None else _evaluation_tensors(transition.norm, transition.conv),
            layers[0].norm1.eps,
            keep_features,
        )
        return (
            None if features is None else as_images(features, (n, h, w)),
            None if out is None else as_images(out, (n, h // 2, w // 2)),
        )
    k = (layers[0].conv1 if layers[0].conv2 is None else layers[0].conv2).out_channels
    buffer = new_buffer(x, c0 + len(layers) * k)

    def of(norm: _BatchNorm) -> tuple[Tensor, Tensor]:
        rstd = torch.rsqrt(norm.running_var.to(wide) + norm.eps)
        return affine(norm.weight, norm.bias, norm.running_mean.to(wide), rstd)

    for i, layer in enumerate(layers):
        c = c0 + i * k
        features, new = buffer[:, :c], buffer[:, c : c + k]
        scale, shift = of(layer.norm1)
        weight = layer.conv1.weight
        if layer.conv2 is None:
            steps.norm_relu_conv3x3(features, scale, shift, weight, (n, h, w), new, measure=False)
        else:
            scale2, shift2 = of(layer.norm2)
            folded = weight.flatten(1).to(wide) * scale2[:, None]
            y, *_ = steps.norm_relu_matmul(features, scale, shift, folded, measure=False)
            steps.norm_relu_conv3x3(y, None, shift2, layer.conv2.weight, (n, h, w), new, measure=False)
    out = None
    if transition is not None:
        weight = transition.conv.weight.flatten(1)
        rows, *_ = steps.norm_relu_pool_matmul(buffer, *of(transition.norm), weight, (n, h, w))
        out = as_images(rows, (n, h // 2, w // 2))
    return (as_images(buffer, (n, h, w)) if keep_features else None), out


def _evaluation_tensors(*modules: nn.Module) -> list[Tensor]:
    """What norms and convolutions, in turns, compute with: weight, bias, running mean and variance; weight."""
    tensors = []
    for norm, conv in zip(modules[::2], modules[1::2]):
        tensors += [norm.weight, norm.bias, norm.running_mean, norm.running_var, conv.weight]
    return tensors
