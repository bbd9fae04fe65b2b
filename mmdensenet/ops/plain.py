"""The steps of a dense block in plain torch, for any device and floating dtype.

A step gets "rows": a matrix (M, C), M = N*H*W, one row per pixel, whose rows may lie apart (a view of some columns of
the block's buffer). The wide tensors, relu(norm1(features)) and its gradient, are formed for a chunk of rows at a time,
while they are in the cache, and consumed at once. Statistics, scales, shifts and sums are in float32 (float64 for
float64 rows), whatever the rows' type. The other modules of steps (:mod:`.native`, :mod:`.triton`) have these functions
with these signatures, and are compared to them.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

#: bytes of the temporaries that hold some rows of a wide tensor: small enough for the cache, large enough for the calls
CHUNK_BYTES = 4 * 2**20
#: how much larger they are on a GPU, whose launches cost more and whose memory is faster
GPU_FACTOR = 64

Shape = tuple[int, int, int]


def statistics(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each column, (C,) and (C,).

    Sums of deviations from the first row, chunk by chunk: sums of the raw squares would cancel, and torch.var_mean is
    slow over rows.
    """
    shift = _wide(rows[0]).clone()
    total, squares = torch.zeros_like(shift), torch.zeros_like(shift)
    for part in _chunks(rows):
        deviation = part - shift
        total += deviation.sum(0)
        squares += deviation.square_().sum(0)
    mean = total / rows.shape[0]
    return mean + shift, (squares / rows.shape[0] - mean.square()).clamp_min_(0)


def norm_relu_matmul(
    features: Tensor, scale: Tensor, shift: Tensor, weight: Tensor, measure: bool = True
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
    for part, out_part in _chunks(features, out):
        torch.mm(_activate(part, scale, shift), weight, out=out_part)
    return out, *(statistics(out) if measure else (None, None))


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
    sums = _Sums(weight, mean)
    for part, grad_part, out in _chunks(features, grad, accumulator):
        z = _activate(part, scale, shift)
        sums.add_product(grad_part, z)
        dz = _mask(_wide(torch.mm(grad_part, compute)), z)
        sums.add(dz, part, mean)
        _accumulate(out, dz, coefficient, overwrite)
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
    for part, piece, (n, h, w) in _images(rows, shape, out, *(() if mask is None else (mask,))):
        u = _activate(part, scale, shift).view(n, h, w, -1).permute(0, 3, 1, 2)
        new = F.conv2d(u, weight, padding=1).permute(0, 2, 3, 1).reshape(n * h * w, -1)
        piece[0].copy_(new if mask is None else new.mul_(piece[1]))
    return statistics(out) if measure else (None, None)


def norm_relu_conv3x3_backward(
    rows: Tensor, scale: Tensor, shift: Tensor, mean: Tensor, weight: Tensor, shape: Shape, grad: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of :func:`norm_relu_conv3x3`, without those through the norm's statistics.

    Args:
        grad: (M, k), gradient of the convolution's result. The others are as in forward, ``mean`` (J,).

    Returns:
        dz (M, J), the gradient of ``rows * scale + shift``; the weight's gradient (k, J, 3, 3); and the sums (J,) of dz
        and of dz * (rows - mean).
    """
    grad_z = torch.empty_like(rows, memory_format=torch.contiguous_format)
    sums = _Sums(weight, mean)
    for part, (grad_part, dz), (n, h, w) in _images(rows, shape, grad, grad_z):
        sums.weight += _conv3x3_backward(part, scale, shift, weight, grad_part, dz, (n, h, w))
        sums.add(_wide(dz), part, mean)
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
) -> tuple[Tensor, Tensor, Tensor]:
    """:func:`norm_relu_conv3x3_backward` for layers without bottleneck, whose dz is as wide as the features.

    ``accumulator += coefficient * dz`` (M, C) as in :func:`norm_relu_matmul_backward`, and dz never exists whole.
    """
    sums = _Sums(weight, mean)
    for part, (grad_part, out), images in _images(rows, shape, grad, accumulator):
        dz = torch.empty_like(part, memory_format=torch.contiguous_format)
        sums.weight += _conv3x3_backward(part, scale, shift, weight, grad_part, dz, images)
        dz = _wide(dz)
        sums.add(dz, part, mean)
        _accumulate(out, dz, coefficient, overwrite)
    return sums.result(weight)


def norm_relu_pool_matmul(
    features: Tensor, scale: Tensor, shift: Tensor, weight: Tensor, shape: Shape
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
    for part, _, images in _images(features, shape):
        pooled = _pool(_activate(part, scale, shift), images)
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
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of :func:`norm_relu_pool_matmul`; arguments and results as in :func:`norm_relu_matmul_backward`."""
    compute = weight.to(features.dtype)
    sums = _Sums(weight, mean)
    start = 0
    for part, (out,), (n, h, w) in _images(features, shape, accumulator):
        z = _activate(part, scale, shift)
        pooled = _pool(z, (n, h, w))
        grad_part = grad[start : start + len(pooled)]
        start += len(pooled)
        sums.add_product(grad_part, pooled)
        of_pooled = torch.mm(grad_part, compute).mul_(0.25).view(n, h // 2, w // 2, -1).permute(0, 3, 1, 2)
        dz = _wide(torch.empty_like(z)).view(n, h, w, -1)
        if h % 2 or w % 2:
            dz.zero_()
        even = dz[:, : h // 2 * 2, : w // 2 * 2]
        even.copy_(F.interpolate(of_pooled, scale_factor=2, mode='nearest').permute(0, 2, 3, 1))
        dz = _mask(dz.view_as(z), z)
        sums.add(dz, part, mean)
        _accumulate(out, dz, coefficient, overwrite)
    return sums.result(weight)


def norm_relu_max_pool(rows: Tensor, scale: Tensor, shift: Tensor, shape: Shape) -> Tensor:
    """3x3 max pooling, stride 2, padding 1, of ``relu(rows * scale + shift)``: ``(N*H*W, C)`` to ``(N*H'*W', C)``."""
    n, h, w = shape
    out = rows.new_empty(n * ((h + 1) // 2) * ((w + 1) // 2), rows.shape[1])
    start = 0
    for part, _, images in _images(rows, shape):
        z = _activate(part, scale, shift).view(*images, -1).permute(0, 3, 1, 2)
        pooled = F.max_pool2d(z, 3, 2, 1).permute(0, 2, 3, 1).reshape(-1, rows.shape[1])
        out[start : start + len(pooled)] = pooled
        start += len(pooled)
    return out


def norm_relu_max_pool_backward(
    rows: Tensor, scale: Tensor, shift: Tensor, mean: Tensor, shape: Shape, grad: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """dz (M, C), the gradient of ``rows * scale + shift``, and the sums (C,) of dz and of dz * (rows - mean)."""
    grad_z = torch.empty_like(rows, memory_format=torch.contiguous_format)
    total, centred = torch.zeros_like(mean), torch.zeros_like(mean)
    start = 0
    for part, (dz,), (n, h, w) in _images(rows, shape, grad_z):
        u = _activate(part, scale, shift)
        images = u.view(n, h, w, -1).permute(0, 3, 1, 2)
        pooled, indices = F.max_pool2d(images, 3, 2, 1, return_indices=True)
        size = pooled.numel() // pooled.shape[1]
        grad_part = grad[start : start + size].view(n, *pooled.shape[2:], -1).permute(0, 3, 1, 2)
        start += size
        grad_u = torch.ops.aten.max_pool2d_with_indices_backward(
            grad_part, images, [3, 3], [2, 2], [1, 1], [1, 1], False, indices
        )
        torch.ops.aten.threshold_backward(grad_u.permute(0, 2, 3, 1).reshape(len(u), -1), u, 0, grad_input=dz)
        wide = _wide(dz)
        total += wide.sum(0)
        centred += torch.sub(part, mean).mul_(wide).sum(0)
    return grad_z, total, centred


def batch_norm_backward_sums(grad: Tensor, rows: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    """The sums over rows (C,) of grad and of grad * (rows - mean), for grad and rows (M, C)."""
    total, centred = torch.zeros_like(mean), torch.zeros_like(mean)
    for part, grad_part in _chunks(rows, grad):
        grad_part = _wide(grad_part)
        total += grad_part.sum(0)
        centred += (part - mean).mul_(grad_part).sum(0)
    return total, centred


def batch_norm_backward(
    grad: Tensor,
    rows: Tensor,
    mean: Tensor,
    rstd: Tensor,
    coefficient: Tensor,
    mean_grad: Tensor,
    mean_grad_normalised: Tensor,
    add: Tensor | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """``coefficient * (grad - mean_grad - (rows - mean) * rstd * mean_grad_normalised) (+ add)``, (M, C).

    The deferred part of batch norm's backward. ``grad``, ``rows``, ``add`` and ``out`` are (M, C), the rest (C,).
    ``out`` may be ``grad``.
    """
    if out is None:
        out = torch.empty_like(rows, memory_format=torch.contiguous_format)
    slope = -rstd * mean_grad_normalised * coefficient
    offset = -mean_grad * coefficient
    for part, grad_part, out_part, *rest in _chunks(rows, grad, out, *(() if add is None else (add,))):
        result = torch.sub(part, mean)
        result = torch.addcmul(offset, result, slope, out=result).add_(grad_part * coefficient)
        out_part.copy_(result if add is None else result.add_(rest[0]))
    return out


def _wide(tensor: Tensor) -> Tensor:
    """In at least float32."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _chunk_bytes(rows: Tensor) -> int:
    # on 'meta', which has shapes only, as on the CPU: what is counted there has small temporaries on all devices
    return CHUNK_BYTES if rows.device.type in ('cpu', 'meta') else GPU_FACTOR * CHUNK_BYTES


def _chunks(rows: Tensor, *others: Tensor) -> Iterator:
    """Matching chunks of the matrices: of ``rows`` alone, or tuples with those of the others."""
    step = max(64, _chunk_bytes(rows) // (rows.shape[1] * max(4, rows.element_size())))
    for start in range(0, rows.shape[0], step):
        part = rows[start : start + step]
        yield (part, *(other[start : start + step] for other in others)) if others else part


def _images(rows: Tensor, shape: Shape, *others: Tensor) -> Iterator[tuple[Tensor, tuple[Tensor, ...], Shape]]:
    """Matching chunks of whole images, and the shape (N, H, W) of each chunk."""
    n, h, w = shape
    step = max(1, _chunk_bytes(rows) // (h * w * rows.shape[1] * max(4, rows.element_size())))
    for first in range(0, n, step):
        images = min(step, n - first)
        part = slice(first * h * w, (first + images) * h * w)
        yield rows[part], tuple(other[part] for other in others), (images, h, w)


def _activate(rows: Tensor, scale: Tensor | None, shift: Tensor) -> Tensor:
    """relu(rows * scale + shift), in the rows' type."""
    out = rows + shift if scale is None else torch.addcmul(shift, rows, scale)
    return out.relu_().to(rows.dtype)


def _pool(z: Tensor, shape: Shape) -> Tensor:
    """2x2 average pooling of rows: (n*h*w, C) to (n * (h//2) * (w//2), C)."""
    images = z.view(*shape, -1).permute(0, 3, 1, 2)
    return F.avg_pool2d(images, 2).permute(0, 2, 3, 1).reshape(-1, z.shape[1])


def _conv3x3_backward(
    rows: Tensor, scale: Tensor, shift: Tensor, weight: Tensor, grad: Tensor, grad_z: Tensor, shape: Shape
) -> Tensor:
    """Writes dz into ``grad_z`` and returns the weight's gradient, for some whole images."""
    n, h, w = shape
    u = _activate(rows, scale, shift)
    grad_u, grad_weight, _ = torch.ops.aten.convolution_backward(
        grad.reshape(n, h, w, -1).permute(0, 3, 1, 2), u.view(n, h, w, -1).permute(0, 3, 1, 2), weight.to(rows.dtype),
        None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, [True, True, False],
    )  # fmt: skip
    grad_u = grad_u.permute(0, 2, 3, 1).reshape(n * h * w, -1)
    torch.ops.aten.threshold_backward(grad_u, u, 0, grad_input=grad_z)
    return grad_weight


def _mask(dz: Tensor, z: Tensor) -> Tensor:
    """dz where relu's result z is positive, else 0; in place."""
    if dz.dtype == z.dtype:
        return torch.ops.aten.threshold_backward(dz, z, 0, grad_input=dz)
    return dz.mul_(z > 0)


def _accumulate(out: Tensor, dz: Tensor, coefficient: Tensor, overwrite: bool) -> None:
    if overwrite:
        torch.mul(dz, coefficient, out=out)
    elif out.dtype == dz.dtype:
        out.addcmul_(dz, coefficient)
    else:
        out.add_(dz * coefficient)


class _Sums:
    """Sums over all chunks: the weight's gradient, dz, and dz times the centred features; each in at least float32."""

    def __init__(self, weight: Tensor, mean: Tensor):
        self.weight = torch.zeros_like(weight, dtype=mean.dtype, memory_format=torch.contiguous_format)
        self.dz, self.centred = torch.zeros_like(mean), torch.zeros_like(mean)

    def add_product(self, grad: Tensor, z: Tensor) -> None:
        if z.dtype == self.weight.dtype:
            self.weight.addmm_(grad.t(), z)
        else:
            self.weight += torch.mm(grad.t(), z)

    def add(self, dz: Tensor, part: Tensor, mean: Tensor) -> None:
        self.dz += dz.sum(0)
        # around the mean: a difference of two large sums would cancel
        self.centred += torch.sub(part, mean).mul_(dz).sum(0)

    def result(self, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.weight.to(weight.dtype), self.dz, self.centred
