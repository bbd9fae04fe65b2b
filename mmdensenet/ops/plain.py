"""The steps of a dense block in plain torch, for any device and floating dtype.

A step gets "rows": a matrix (M, C), M = N*H*W, one row per pixel, whose rows may lie apart (a view of some columns of
the block's buffer). The wide tensors, relu(norm1(features)) and its gradient, are formed for a chunk of rows at a time,
while they are in the cache, and consumed at once. Statistics, scales, shifts and sums are in float32 (float64 for
float64 rows), whatever the rows' type. The other modules of steps (:mod:`.native`, :mod:`.triton`) have these functions
with these signatures, and are compared to them.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .norms import extend_norm, new_norm
from .passes import TORCH, Passes, Sums, chunks, images, statistics, wide
from .rows import Shape

__all__ = [
    'batch_norm_backward',
    'batch_norm_backward_sums',
    'extend_norm',
    'new_norm',
    'norm_relu_conv3x3',
    'norm_relu_conv3x3_backward',
    'norm_relu_conv3x3_backward_into',
    'norm_relu_matmul',
    'norm_relu_matmul_backward',
    'norm_relu_max_pool',
    'norm_relu_max_pool_backward',
    'norm_relu_pool_matmul',
    'norm_relu_pool_matmul_backward',
    'statistics',
]


def norm_relu_matmul(
    features: Tensor, scale: Tensor, shift: Tensor, weight: Tensor, measure: bool = True, passes: Passes = TORCH
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """``relu(features * scale + shift) @ weight.t()`` and the statistics of its columns.

    Args:
        features: (M, C).
        scale, shift: (C,), the norm as an affine map.
        weight: (J, C), cast to the features' type.
        measure: compute the statistics.

    Returns:
        (M, J) in the features' type, and mean and biased variance (J,), or None and None.
    """
    weight = weight.to(features.dtype).t()
    out = features.new_empty(features.shape[0], weight.shape[1])
    for part, out_part in chunks(features, out):
        torch.mm(passes.activate(part, scale, shift), weight, out=out_part)
    return out, *(passes.statistics(out) if measure else (None, None))


def norm_relu_matmul_backward(
    features: Tensor,
    scale: Tensor,
    shift: Tensor,
    mean: Tensor,
    weight: Tensor,
    grad: Tensor,
    coefficient: Tensor,
    accumulator: Tensor,
    overwrite: bool = False,
    passes: Passes = TORCH,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of :func:`norm_relu_matmul`, without those through the norm's statistics.

    With dz = grad @ weight where the activation is positive, else 0: ``accumulator += coefficient * dz``.

    Args:
        features, scale, shift, weight: as in forward.
        mean: (C,), around which the sum with the features is taken, so that it does not cancel.
        grad: (M, J), gradient of the result.
        coefficient: (C,).
        accumulator: (M, C), changed in place.
        overwrite: set the accumulator instead of adding to it.

    Returns:
        The weight's gradient (J, C), the sum of dz (C,), and the sum of dz * (features - mean) (C,).
    """
    compute = weight.to(features.dtype)
    sums = Sums(mean, weight)
    for part, grad_part, out in chunks(features, grad, accumulator):
        z = passes.activate(part, scale, shift)
        sums.add_product(grad_part, z)
        passes.consume(torch.mm(grad_part, compute), z, part, mean, coefficient, out, overwrite, sums)
    return sums.result(weight)


def norm_relu_conv3x3(
    rows: Tensor,
    scale: Tensor | None,
    shift: Tensor,
    weight: Tensor,
    shape: Shape,
    out: Tensor,
    mask: Tensor | None = None,
    measure: bool = True,
    passes: Passes = TORCH,
) -> tuple[Tensor | None, Tensor | None]:
    """The 3x3 convolution (padding 1) of ``relu(rows * scale + shift)``, written into ``out``.

    Args:
        rows: (M, J).
        scale: (J,), or None for ones.
        shift: (J,).
        weight: (k, J, 3, 3), cast to the rows' type.
        shape: (N, H, W) with M = N*H*W.
        out: (M, k), written.
        mask: factors (M, k) by which the result is multiplied, for dropout.
        measure: compute the statistics of what is written.

    Returns:
        Mean and biased variance (k,) of the result, or None and None.
    """
    weight = weight.to(rows.dtype)
    for part, piece, (n, h, w) in images(rows, shape, out, *(() if mask is None else (mask,))):
        u = passes.activate(part, scale, shift).view(n, h, w, -1).permute(0, 3, 1, 2)
        new = F.conv2d(u, weight, padding=1).permute(0, 2, 3, 1).reshape(n * h * w, -1)
        piece[0].copy_(new if mask is None else new.mul_(piece[1]))
    return passes.statistics(out) if measure else (None, None)


def norm_relu_conv3x3_backward(
    rows: Tensor,
    scale: Tensor,
    shift: Tensor,
    mean: Tensor,
    weight: Tensor,
    shape: Shape,
    grad: Tensor,
    passes: Passes = TORCH,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of :func:`norm_relu_conv3x3`, without those through the norm's statistics.

    Args:
        grad: (M, k), gradient of the convolution's result. The others are as in forward, ``mean`` (J,).

    Returns:
        dz (M, J), the gradient of ``rows * scale + shift``; the weight's gradient (k, J, 3, 3); and the sums (J,) of dz
        and of dz * (rows - mean).
    """
    grad_z = torch.empty_like(rows, memory_format=torch.contiguous_format)
    sums = Sums(mean, weight)
    for part, (grad_part, dz), size in images(rows, shape, grad, grad_z):
        u = passes.activate(part, scale, shift)
        grad_u = _conv3x3_backward(u, weight, size, grad_part, sums)
        passes.consume(grad_u, u, part, mean, None, dz, True, sums)
    return grad_z, *sums.result(weight)


def norm_relu_conv3x3_backward_into(
    rows: Tensor,
    scale: Tensor,
    shift: Tensor,
    mean: Tensor,
    weight: Tensor,
    shape: Shape,
    grad: Tensor,
    coefficient: Tensor,
    accumulator: Tensor,
    overwrite: bool = False,
    passes: Passes = TORCH,
) -> tuple[Tensor, Tensor, Tensor]:
    """:func:`norm_relu_conv3x3_backward` for layers without bottleneck, whose dz is as wide as the features.

    ``accumulator += coefficient * dz`` (M, C) as in :func:`norm_relu_matmul_backward`, and dz never exists whole.
    """
    sums = Sums(mean, weight)
    for part, (grad_part, out), size in images(rows, shape, grad, accumulator):
        u = passes.activate(part, scale, shift)
        grad_u = _conv3x3_backward(u, weight, size, grad_part, sums)
        passes.consume(grad_u, u, part, mean, coefficient, out, overwrite, sums)
    return sums.result(weight)


def norm_relu_pool_matmul(
    features: Tensor, scale: Tensor, shift: Tensor, weight: Tensor, shape: Shape, passes: Passes = TORCH
) -> tuple[Tensor, None, None]:
    """The transition: relu(norm), 2x2 average pooling with stride 2, then the 1x1 convolution.

    Both of these are linear, so pooling first gives the same with a quarter of the multiplications. An odd last row or
    column of the image is dropped, as AvgPool2d does.

    Returns:
        (N * (H // 2) * (W // 2), J); the statistics are not needed and None.
    """
    n, h, w = shape
    weight = weight.to(features.dtype).t()
    out = features.new_empty(n * (h // 2) * (w // 2), weight.shape[1])
    start = 0
    for part, _, size in images(features, shape):
        pooled = _pool(passes.activate(part, scale, shift), size)
        torch.mm(pooled, weight, out=out[start : start + len(pooled)])
        start += len(pooled)
    return out, None, None


def norm_relu_pool_matmul_backward(
    features: Tensor,
    scale: Tensor,
    shift: Tensor,
    mean: Tensor,
    weight: Tensor,
    shape: Shape,
    grad: Tensor,
    coefficient: Tensor,
    accumulator: Tensor,
    overwrite: bool = False,
    passes: Passes = TORCH,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of :func:`norm_relu_pool_matmul`; arguments and results as in :func:`norm_relu_matmul_backward`."""
    compute = weight.to(features.dtype)
    sums = Sums(mean, weight)
    start = 0
    for part, (out,), (n, h, w) in images(features, shape, accumulator):
        z = passes.activate(part, scale, shift)
        pooled = _pool(z, (n, h, w))
        grad_part = grad[start : start + len(pooled)]
        start += len(pooled)
        sums.add_product(grad_part, pooled)
        of_pooled = torch.mm(grad_part, compute).mul_(0.25).view(n, h // 2, w // 2, -1).permute(0, 3, 1, 2)
        grad_z = torch.empty_like(z)
        if h % 2 or w % 2:
            grad_z.zero_()
        even = grad_z.view(n, h, w, -1)[:, : h // 2 * 2, : w // 2 * 2]
        even.copy_(F.interpolate(of_pooled, scale_factor=2, mode='nearest').permute(0, 2, 3, 1))
        passes.consume(grad_z, z, part, mean, coefficient, out, overwrite, sums)
    return sums.result(weight)


def norm_relu_max_pool(rows: Tensor, scale: Tensor, shift: Tensor, shape: Shape, passes: Passes = TORCH) -> Tensor:
    """3x3 max pooling, stride 2, padding 1, of ``relu(rows * scale + shift)``: ``(N*H*W, C)`` to ``(N*H'*W', C)``."""
    n, h, w = shape
    out = rows.new_empty(n * ((h + 1) // 2) * ((w + 1) // 2), rows.shape[1])
    start = 0
    for part, _, size in images(rows, shape):
        z = passes.activate(part, scale, shift).view(*size, -1).permute(0, 3, 1, 2)
        pooled = F.max_pool2d(z, 3, 2, 1).permute(0, 2, 3, 1).reshape(-1, rows.shape[1])
        out[start : start + len(pooled)] = pooled
        start += len(pooled)
    return out


def norm_relu_max_pool_backward(
    rows: Tensor, scale: Tensor, shift: Tensor, mean: Tensor, shape: Shape, grad: Tensor, passes: Passes = TORCH
) -> tuple[Tensor, Tensor, Tensor]:
    """dz (M, C), the gradient of ``rows * scale + shift``, and the sums (C,) of dz and of dz * (rows - mean)."""
    grad_z = torch.empty_like(rows, memory_format=torch.contiguous_format)
    sums = Sums(mean)
    start = 0
    for part, (dz,), (n, h, w) in images(rows, shape, grad_z):
        u = passes.activate(part, scale, shift)
        z = u.view(n, h, w, -1).permute(0, 3, 1, 2)
        pooled, indices = F.max_pool2d(z, 3, 2, 1, return_indices=True)
        count = pooled.numel() // pooled.shape[1]
        grad_part = grad[start : start + count].view(n, *pooled.shape[2:], -1).permute(0, 3, 1, 2)
        start += count
        grad_u = torch.ops.aten.max_pool2d_with_indices_backward(
            grad_part, z, [3, 3], [2, 2], [1, 1], [1, 1], False, indices
        )
        grad_u = grad_u.permute(0, 2, 3, 1).reshape(len(u), -1)
        passes.consume(grad_u, u, part, mean, None, dz, True, sums)
    return grad_z, sums.dz, sums.centred


def batch_norm_backward_sums(grad: Tensor, rows: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    """The sums over rows (C,) of grad and of grad * (rows - mean), for grad and rows (M, C)."""
    total, centred = torch.zeros_like(mean), torch.zeros_like(mean)
    for part, grad_part in chunks(rows, grad):
        grad_part = wide(grad_part)
        total += grad_part.sum(0)
        centred += (part - mean).mul_(grad_part).sum(0)
    return total, centred


def batch_norm_backward(
    grad: Tensor,
    rows: Tensor,
    mean: Tensor,
    rstd: Tensor,
    coefficient: Tensor,
    sum_grad: Tensor,
    sum_centred: Tensor,
    total: int | Tensor,
    add: Tensor | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """The deferred part of batch norm's backward, (M, C).

    ``coefficient * (grad - sum_grad / total - (rows - mean) * rstd**2 * sum_centred / total) (+ add)``. ``grad``,
    ``rows``, ``add`` and ``out`` are (M, C), the rest (C,), and ``total`` is the number of rows of all ranks.
    ``out`` may be ``grad``.
    """
    mean_grad, mean_grad_normalised = sum_grad / total, sum_centred * rstd / total
    if out is None:
        out = torch.empty_like(rows, memory_format=torch.contiguous_format)
    slope = -rstd * mean_grad_normalised * coefficient
    offset = -mean_grad * coefficient
    for part, grad_part, out_part, *rest in chunks(rows, grad, out, *(() if add is None else (add,))):
        result = torch.sub(part, mean)
        result = torch.addcmul(offset, result, slope, out=result).add_(grad_part * coefficient)
        out_part.copy_(result if add is None else result.add_(rest[0]))
    return out


def _pool(z: Tensor, shape: Shape) -> Tensor:
    """2x2 average pooling of rows: (n*h*w, C) to (n * (h//2) * (w//2), C)."""
    pooled = F.avg_pool2d(z.view(*shape, -1).permute(0, 3, 1, 2), 2)
    return pooled.permute(0, 2, 3, 1).reshape(-1, z.shape[1])


def _conv3x3_backward(u: Tensor, weight: Tensor, shape: Shape, grad: Tensor, sums: Sums) -> Tensor:
    """The gradient of u, for some whole images; the weight's is added to the sums."""
    n, h, w = shape
    grad_u, grad_weight, _ = torch.ops.aten.convolution_backward(
        grad.reshape(n, h, w, -1).permute(0, 3, 1, 2), u.view(n, h, w, -1).permute(0, 3, 1, 2), weight.to(u.dtype),
        None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, [True, True, False],
    )  # fmt: skip
    sums.weight += grad_weight
    return grad_u.permute(0, 2, 3, 1).reshape(n * h * w, -1)
