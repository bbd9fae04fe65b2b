"""The steps of a dense block in plain torch, for any device and floating dtype.

The steps compute the wide tensors, relu(norm1(features)) and its gradient, for one chunk of rows at a time, and use
them while they are in the cache. The tests compare the other steps (:mod:`.native`, :mod:`.triton`) with these.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..rows import Shape
from .passes import TORCH, Passes, Sums, chunks, images, to_float32
from .protocol import Steps


class PlainSteps(Steps):
    """
    Args:
        passes: the elementwise work on each chunk, between the products.
    """

    name = 'plain'

    def __init__(self, passes: Passes = TORCH):
        self.passes = passes

    def statistics(self, rows):
        return self.passes.statistics(rows)

    def norm_relu_matmul(self, features, scale, shift, weight, measure=True):
        weight = weight.to(features.dtype).t()
        out = features.new_empty(features.shape[0], weight.shape[1])
        for part, out_part in chunks(features, out):
            torch.mm(self.passes.activate(part, scale, shift), weight, out=out_part)
        return out, *(self.passes.statistics(out) if measure else (None, None))

    def norm_relu_matmul_backward(
        self, features, scale, shift, mean, weight, grad, coefficient, accumulator, overwrite=False
    ):
        compute = weight.to(features.dtype)
        sums = Sums(mean, weight)
        for part, grad_part, out in chunks(features, grad, accumulator):
            z = self.passes.activate(part, scale, shift)
            sums.add_product(grad_part, z)
            self.passes.consume(torch.mm(grad_part, compute), z, part, mean, coefficient, out, overwrite, sums)
        return sums.result(weight)

    def norm_relu_conv3x3(self, rows, scale, shift, weight, shape, out, mask=None, measure=True):
        weight = weight.to(rows.dtype)
        for part, piece, (n, h, w) in images(rows, shape, out, *(() if mask is None else (mask,))):
            u = self.passes.activate(part, scale, shift).view(n, h, w, -1).permute(0, 3, 1, 2)
            new = F.conv2d(u, weight, padding=1).permute(0, 2, 3, 1).reshape(n * h * w, -1)
            piece[0].copy_(new if mask is None else new.mul_(piece[1]))
        return self.passes.statistics(out) if measure else (None, None)

    def norm_relu_conv3x3_backward(self, rows, scale, shift, mean, weight, shape, grad):
        grad_z = torch.empty_like(rows, memory_format=torch.contiguous_format)
        # without a coefficient dz itself is written
        return grad_z, *self.norm_relu_conv3x3_backward_into(
            rows, scale, shift, mean, weight, shape, grad, None, grad_z, overwrite=True
        )

    def norm_relu_conv3x3_backward_into(
        self, rows, scale, shift, mean, weight, shape, grad, coefficient, accumulator, overwrite=False
    ):
        sums = Sums(mean, weight)
        for part, (grad_part, out), size in images(rows, shape, grad, accumulator):
            u = self.passes.activate(part, scale, shift)
            grad_u = _conv3x3_backward(u, weight, size, grad_part, sums)
            self.passes.consume(grad_u, u, part, mean, coefficient, out, overwrite, sums)
        return sums.result(weight)

    def norm_relu_pool_matmul(self, features, scale, shift, weight, shape):
        n, h, w = shape
        weight = weight.to(features.dtype).t()
        out = features.new_empty(n * (h // 2) * (w // 2), weight.shape[1])
        start = 0
        for part, _, size in images(features, shape):
            pooled = _pool(self.passes.activate(part, scale, shift), size)
            torch.mm(pooled, weight, out=out[start : start + len(pooled)])
            start += len(pooled)
        return out, None, None

    def norm_relu_pool_matmul_backward(
        self, features, scale, shift, mean, weight, shape, grad, coefficient, accumulator, overwrite=False
    ):
        compute = weight.to(features.dtype)
        sums = Sums(mean, weight)
        start = 0
        for part, (out,), (n, h, w) in images(features, shape, accumulator):
            z = self.passes.activate(part, scale, shift)
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
            self.passes.consume(grad_z, z, part, mean, coefficient, out, overwrite, sums)
        return sums.result(weight)

    def norm_relu_max_pool(self, rows, scale, shift, shape):
        n, h, w = shape
        out = rows.new_empty(n * ((h + 1) // 2) * ((w + 1) // 2), rows.shape[1])
        start = 0
        for part, _, size in images(rows, shape):
            z = self.passes.activate(part, scale, shift).view(*size, -1).permute(0, 3, 1, 2)
            pooled = F.max_pool2d(z, 3, 2, 1).permute(0, 2, 3, 1).reshape(-1, rows.shape[1])
            out[start : start + len(pooled)] = pooled
            start += len(pooled)
        return out

    def norm_relu_max_pool_backward(self, rows, scale, shift, mean, shape, grad):
        grad_z = torch.empty_like(rows, memory_format=torch.contiguous_format)
        sums = Sums(mean)
        start = 0
        for part, (dz,), (n, h, w) in images(rows, shape, grad_z):
            u = self.passes.activate(part, scale, shift)
            z = u.view(n, h, w, -1).permute(0, 3, 1, 2)
            pooled, indices = F.max_pool2d(z, 3, 2, 1, return_indices=True)
            count = pooled.numel() // pooled.shape[1]
            grad_part = grad[start : start + count].view(n, *pooled.shape[2:], -1).permute(0, 3, 1, 2)
            start += count
            grad_u = torch.ops.aten.max_pool2d_with_indices_backward(
                grad_part, z, [3, 3], [2, 2], [1, 1], [1, 1], False, indices
            )
            grad_u = grad_u.permute(0, 2, 3, 1).reshape(len(u), -1)
            self.passes.consume(grad_u, u, part, mean, None, dz, True, sums)
        return grad_z, sums.dz, sums.centred

    def batch_norm_backward_sums(self, grad, rows, mean):
        total, centred = torch.zeros_like(mean), torch.zeros_like(mean)
        for part, grad_part in chunks(rows, grad):
            grad_part = to_float32(grad_part)
            total += grad_part.sum(0)
            centred += (part - mean).mul_(grad_part).sum(0)
        return total, centred

    def batch_norm_backward(
        self, grad, rows, mean, rstd, coefficient, sum_grad, sum_centred, total, add=None, out=None
    ):
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


plain_steps = PlainSteps()


def _pool(z: Tensor, shape: Shape) -> Tensor:
    """2x2 average pooling of rows: (n*h*w, C) to (n * (h//2) * (w//2), C)."""
    pooled = F.avg_pool2d(z.view(*shape, -1).permute(0, 3, 1, 2), 2)
    return pooled.permute(0, 2, 3, 1).reshape(-1, z.shape[1])


def _conv3x3_backward(u: Tensor, weight: Tensor, shape: Shape, grad: Tensor, sums: Sums) -> Tensor:
    """The gradient of u, for a chunk of images; the weight's gradient is added to ``sums``."""
    n, h, w = shape
    grad_u, grad_weight, _ = torch.ops.aten.convolution_backward(
        grad.reshape(n, h, w, -1).permute(0, 3, 1, 2), u.view(n, h, w, -1).permute(0, 3, 1, 2), weight.to(u.dtype),
        None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, [True, True, False],
    )  # fmt: skip
    sums.weight += grad_weight
    return grad_u.permute(0, 2, 3, 1).reshape(n * h * w, -1)
