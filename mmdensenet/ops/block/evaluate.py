"""The dense block in evaluation without gradients: the second norm's scale is folded into the 1x1 convolution."""

import torch
from torch import Tensor

from ..norms import running_affines
from ..rows import as_rows, new_buffer, own_images
from ..steps import steps_for
from .plan import Plan


def evaluate_block(x: Tensor, plan: Plan, keep_features: bool) -> tuple[Tensor | None, Tensor | None]:
    """The features (N, C0 + L * k, H, W), None without ``keep_features``, and the transition's output or None."""
    steps = steps_for(x, x.dtype)
    n, c0, h, w = x.shape
    eps, transition = plan.eps, plan.transition
    if steps.evaluates_whole and plan.layers[0].conv2 is not None:
        features, out = steps.evaluate_stage(
            as_rows(x),
            (n, h, w),
            [(*norm1[:4], conv1, *norm2[:4], conv2) for norm1, conv1, norm2, conv2 in plan.layers],
            None if transition is None else (*transition.norm[:4], transition.conv),
            eps,
            keep_features,
        )
        return (
            None if features is None else own_images(features, (n, h, w)),
            None if out is None else own_images(out, (n, h // 2, w // 2)),
        )
    growth = (plan.layers[0].conv1 if plan.layers[0].conv2 is None else plan.layers[0].conv2).shape[0]
    buffer = new_buffer(x, c0 + len(plan.layers) * growth)
    dtype = torch.promote_types(x.dtype, torch.float32)
    norms = [norm for layer in plan.layers for norm in (layer.norm1, layer.norm2) if norm is not None]
    affines = running_affines(norms if transition is None else [*norms, transition.norm], eps, dtype)
    for i, (_, conv1, _, conv2) in enumerate(plan.layers):
        c = c0 + i * growth
        features, new = buffer[:, :c], buffer[:, c : c + growth]
        scale, shift = next(affines)
        if conv2 is None:
            steps.norm_relu_conv3x3(features, scale, shift, conv1, (n, h, w), new, measure=False)
        else:
            scale2, shift2 = next(affines)
            folded = conv1.flatten(1).to(dtype) * scale2[:, None]
            y, *_ = steps.norm_relu_matmul(features, scale, shift, folded, measure=False)
            steps.norm_relu_conv3x3(y, None, shift2, conv2, (n, h, w), new, measure=False)
    out = None
    if transition is not None:
        rows, *_ = steps.norm_relu_pool_matmul(buffer, *next(affines), transition.conv.flatten(1), (n, h, w))
        out = own_images(rows, (n, h // 2, w // 2))
    return (own_images(buffer, (n, h, w)) if keep_features else None), out
