"""The dense block in evaluation without gradients: the second norm's scale goes into the 1x1 convolution."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

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
    norms = [norm for layer in layers for norm in (layer.norm1, layer.norm2) if norm is not None]
    affines = iter(_affines(norms if transition is None else [*norms, transition.norm], wide))
    for i, layer in enumerate(layers):
        c = c0 + i * k
        features, new = buffer[:, :c], buffer[:, c : c + k]
        scale, shift = next(affines)
        weight = layer.conv1.weight
        if layer.conv2 is None:
            steps.norm_relu_conv3x3(features, scale, shift, weight, (n, h, w), new, measure=False)
        else:
            scale2, shift2 = next(affines)
            folded = weight.flatten(1).to(wide) * scale2[:, None]
            y, *_ = steps.norm_relu_matmul(features, scale, shift, folded, measure=False)
            steps.norm_relu_conv3x3(y, None, shift2, layer.conv2.weight, (n, h, w), new, measure=False)
    out = None
    if transition is not None:
        weight = transition.conv.weight.flatten(1)
        rows, *_ = steps.norm_relu_pool_matmul(buffer, *next(affines), weight, (n, h, w))
        out = as_images(rows, (n, h // 2, w // 2))
    return (as_images(buffer, (n, h, w)) if keep_features else None), out


def _affines(norms: Sequence[_BatchNorm], dtype: torch.dtype) -> Iterator[tuple[Tensor, Tensor]]:
    """Scale and shift (C,) of each norm with its running statistics; a few calls for all of them."""
    weights, biases, means, variances = (
        [getattr(norm, name).to(dtype) for norm in norms] for name in ('weight', 'bias', 'running_mean', 'running_var')
    )
    deviations = torch._foreach_rsqrt(torch._foreach_add(variances, norms[0].eps))
    scales = torch._foreach_mul(weights, deviations)
    return zip(scales, torch._foreach_addcmul(biases, means, scales, value=-1))


def _evaluation_tensors(*modules: nn.Module) -> list[Tensor]:
    """What norms and convolutions, in turns, compute with: weight, bias, running mean and variance; weight."""
    tensors = []
    for norm, conv in zip(modules[::2], modules[1::2]):
        tensors += [norm.weight, norm.bias, norm.running_mean, norm.running_var, conv.weight]
    return tensors
