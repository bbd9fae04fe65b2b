"""The dense block without concatenation, in plain torch: the same function as the reference, to rounding.

All features live in one channels-last buffer of shape (M, C0 + L*k), M = N*H*W. Layer l reads its first C_l columns and
writes the next k. Three things follow (arXiv:1608.06993 has the function, the rest is algebra):

- The statistics that batch norm needs are those of the channel, whoever normalises it: they are computed once, when
  the channel is written. Each layer's running statistics are updated from the shared values.
- relu(norm1(features)) is an affine map per channel and a maximum. It is formed for a few rows at a time, while they
  are in the cache, and consumed by the 1x1 convolution at once; it never exists whole, in forward or in backward.
- The backward of batch norm is linear in gamma * dz, so the terms of all consumers of a channel are summed first and
  the correction by the means is applied once, when the channel's own layer has its turn.

Kept for backward: the buffer, its statistics, and each layer's bottleneck output, so memory is linear in depth.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from .reference import DenseLayerModules

#: size of the temporaries that hold some rows of relu(norm1(features)) and of its gradient
CHUNK_BYTES = 4 * 2**20


def fused_dense_block(x: Tensor, layers: Sequence[DenseLayerModules]) -> Tensor:
    """Apply the layers of one block; arguments and result are those of :func:`~mmdensenet.ops.dense_block`.

    The result is in channels-last order in memory. :func:`why_not_fused` must have given None.

    Raises:
        RuntimeError: when its gradient is to be differentiated again; ``engine='reference'`` can.
    """
    if not layers[0].norm1.training:
        return _evaluate(x, layers)
    parameters = [p for layer in layers for p in _parameters(layer)]
    settings = [(layer.norm1.eps, layer.norm2.eps, layer.drop_rate if layer.training else 0.0) for layer in layers]
    out, *statistics = _FusedBlock.apply(x, settings, *parameters)
    with torch.no_grad():
        _update_running_statistics(layers, statistics, out.numel() // out.shape[1])
    return out


def why_not_fused(x: Tensor, layers: Sequence[DenseLayerModules]) -> str | None:
    """The reason for which these layers cannot be computed by :func:`fused_dense_block`, or None if they can."""
    if torch.jit.is_tracing() or torch.jit.is_scripting() or torch.compiler.is_compiling():
        return 'the model is traced or compiled'
    if x.dtype not in (torch.float32, torch.float64) or torch.is_autocast_enabled(x.device.type):
        return 'it computes in float32 and float64 only'
    first = layers[0]
    if first.norm1.training and x.shape[0] * x.shape[2] * x.shape[3] < 2:
        return 'there is one value per channel'
    for layer in layers:
        if layer.conv2 is None:
            return 'the layers have no bottleneck'
        if type(layer.act) is not nn.ReLU:
            return f'the activation is {type(layer.act).__name__}, not ReLU'
        for norm in (layer.norm1, layer.norm2):
            if (
                type(norm) is not nn.BatchNorm2d
                or not (norm.affine and norm.track_running_stats)
                or norm.momentum is None
            ):
                return f'the norm is {type(norm).__name__}, not a plain BatchNorm2d with running statistics'
            if norm.training != first.norm1.training:
                return 'some norms are in training and some in evaluation mode'
            if norm.weight.dtype != x.dtype:
                return 'weights and features are of different types'
        if layer.norm1.eps != first.norm1.eps:
            return 'the norms have different eps'
        if any(_has_hooks(module) for module in (layer, layer.norm1, layer.act, layer.conv1, layer.norm2, layer.conv2)):
            return 'there are hooks on inner modules'
    differentiable = x.requires_grad or any(p.requires_grad for layer in layers for p in layer.parameters())
    if not first.norm1.training and torch.is_grad_enabled() and differentiable:
        return 'gradients are asked for with norms in evaluation mode'
    return None


def _has_hooks(module: nn.Module) -> bool:
    return bool(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    )


def _parameters(layer: DenseLayerModules) -> tuple[Tensor, ...]:
    return (
        layer.norm1.weight, layer.norm1.bias, layer.conv1.weight,
        layer.norm2.weight, layer.norm2.bias, layer.conv2.weight,
    )  # fmt: skip


def _chunks(rows: int, width: int, itemsize: int) -> range:
    """Starts of the chunks of rows whose temporaries of this width are CHUNK_BYTES large."""
    return range(0, rows, max(64, CHUNK_BYTES // (width * itemsize)))


def _new_buffer(x: Tensor, channels: int) -> Tensor:
    """A buffer (M, channels) that begins with the input's channels."""
    n, c, h, w = x.shape
    buffer = x.new_empty(n * h * w, channels)
    buffer.view(n, h, w, channels)[..., :c] = x.permute(0, 2, 3, 1)
    return buffer


def _activate(buffer: Tensor, scale: Tensor, shift: Tensor, out: Tensor) -> Tensor:
    """relu(buffer * scale + shift) into ``out``."""
    return torch.mul(buffer, scale, out=out).add_(shift).relu_()


def _mean_and_variance(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each column.

    Sums of deviations from the first row, chunk by chunk: torch.var_mean is slow over rows, and sums of the raw squares
    would cancel.
    """
    shift = rows[0].clone()
    total, squares = torch.zeros_like(shift), torch.zeros_like(shift)
    chunks = _chunks(rows.shape[0], rows.shape[1], rows.element_size())
    for start in chunks:
        deviation = rows[start : start + chunks.step] - shift
        total += deviation.sum(0)
        squares += deviation.square_().sum(0)
    mean = total / rows.shape[0]
    return mean + shift, (squares / rows.shape[0] - mean.square()).clamp_min_(0)


def _as_images(rows: Tensor, shape: torch.Size) -> Tensor:
    """(M, c) as (N, c, H, W) in channels-last order."""
    n, _, h, w = shape
    return rows.view(n, h, w, -1).permute(0, 3, 1, 2)


def _as_rows(images: Tensor) -> Tensor:
    return images.permute(0, 2, 3, 1).reshape(-1, images.shape[1])


class _FusedBlock(torch.autograd.Function):
    """x, settings per layer, six parameters per layer -> features and the statistics of batch norms.

    The statistics are mean and variance (biased) of all channels, then of each layer's bottleneck.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, settings: list, *parameters: Tensor):
        c0, k, depth = x.shape[1], parameters[5].shape[0], len(settings)
        channels = c0 + depth * k
        buffer = _new_buffer(x, channels)
        rows = buffer.shape[0]
        mean, var, rstd = (x.new_empty(channels) for _ in range(3))

        def measure(start: int, stop: int) -> None:
            mean[start:stop], var[start:stop] = _mean_and_variance(buffer[:, start:stop])
            rstd[start:stop] = torch.rsqrt(var[start:stop] + settings[0][0])

        measure(0, c0)
        saved, bottleneck_statistics = [], []
        for i, (_, eps2, drop_rate) in enumerate(settings):
            gamma1, beta1, w1, gamma2, beta2, w2 = parameters[6 * i : 6 * i + 6]
            c = c0 + i * k
            scale = gamma1 * rstd[:c]
            shift = beta1 - mean[:c] * scale
            y = x.new_empty(rows, w1.shape[0])
            chunks = _chunks(rows, c, x.element_size())
            temporary = x.new_empty(min(chunks.step, rows), c)
            weight = w1.flatten(1).t()
            for start in chunks:
                part = buffer[start : start + chunks.step, :c]
                torch.mm(
                    _activate(part, scale, shift, temporary[: len(part)]), weight, out=y[start : start + len(part)]
                )
            mean2, var2 = _mean_and_variance(y)
            scale2 = gamma2 * torch.rsqrt(var2 + eps2)
            u = _activate(y, scale2, beta2 - mean2 * scale2, torch.empty_like(y))
            new = F.conv2d(_as_images(u, x.shape), w2, padding=1)
            mask = None
            if drop_rate > 0:
                mask = torch.empty_like(new, dtype=torch.bool).bernoulli_(1 - drop_rate)
                new = new * mask / (1 - drop_rate)
            buffer[:, c : c + k] = _as_rows(new)
            measure(c, c + k)
            saved.append((y, mask))
            bottleneck_statistics += [mean2, var2]

        ctx.settings, ctx.shape, ctx.masks = settings, x.shape, [mask for _, mask in saved]
        ctx.save_for_backward(buffer, mean, rstd, *bottleneck_statistics, *(y for y, _ in saved), *parameters)
        statistics = (mean, var, *bottleneck_statistics)
        ctx.mark_non_differentiable(*statistics)
        return _as_images(buffer, x.shape), *statistics

    @staticmethod
    def backward(ctx, grad_out: Tensor, *_):
        if torch.is_grad_enabled():
            raise RuntimeError("the fused dense block cannot be differentiated twice; use DenseNet(engine='reference')")
        settings, shape = ctx.settings, ctx.shape
        depth = len(settings)
        buffer, mean, rstd, *rest = ctx.saved_tensors
        statistics, ys, parameters = rest[: 2 * depth], rest[2 * depth : 3 * depth], rest[3 * depth :]
        k, c0 = parameters[5].shape[0], shape[1]
        rows = buffer.shape[0]
        grad_rows = _as_rows(grad_out)
        consumers = torch.zeros_like(buffer)  # G: the sum over consumers of gamma * dz
        grads: list[Tensor | None] = [None] * len(parameters)

        def finish(start: int, stop: int) -> Tensor:
            """Gradient of channels whose consumers are all done: batch norm's correction, and the direct gradient."""
            g = consumers[:, start:stop]
            normalised = (buffer[:, start:stop] - mean[start:stop]).mul_(rstd[start:stop])
            of_g, of_product = g.mean(0), (g * normalised).mean(0)
            return (g - of_g).sub_(normalised.mul_(of_product)).mul_(rstd[start:stop]).add_(grad_rows[:, start:stop])

        for i in reversed(range(depth)):
            gamma1, beta1, w1, gamma2, beta2, w2 = parameters[6 * i : 6 * i + 6]
            (_, eps2, drop_rate), y, mask = settings[i], ys[i], ctx.masks[i]
            mean2, var2 = statistics[2 * i : 2 * i + 2]
            c = c0 + i * k
            grad_new = _as_images(finish(c, c + k), shape)
            if mask is not None:
                grad_new = grad_new * mask / (1 - drop_rate)

            rstd2 = torch.rsqrt(var2 + eps2)
            scale2 = gamma2 * rstd2
            u = _activate(y, scale2, beta2 - mean2 * scale2, torch.empty_like(y))
            grad_u, grad_w2, _ = torch.ops.aten.convolution_backward(
                grad_new, _as_images(u, shape), w2, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, [True, True, False]
            )
            grad_z2 = torch.ops.aten.threshold_backward(_as_rows(grad_u), u, 0)
            normalised = (y - mean2).mul_(rstd2)
            grad_beta2, grad_gamma2 = grad_z2.sum(0), (grad_z2 * normalised).sum(0)
            grad_y = grad_z2.sub_(grad_beta2 / rows).sub_(normalised.mul_(grad_gamma2 / rows)).mul_(scale2)

            scale = gamma1 * rstd[:c]
            shift = beta1 - mean[:c] * scale
            weight = w1.flatten(1)
            grad_weight = torch.zeros_like(weight)
            grad_beta1, products = torch.zeros_like(beta1), torch.zeros_like(beta1)
            chunks = _chunks(rows, c, buffer.element_size())
            temporary = buffer.new_empty(2, min(chunks.step, rows), c)
            for start in chunks:
                part, grad_part = buffer[start : start + chunks.step, :c], grad_y[start : start + chunks.step]
                z = _activate(part, scale, shift, temporary[0, : len(part)])
                grad_weight.addmm_(grad_part.t(), z)
                grad_z = torch.mm(grad_part, weight, out=temporary[1, : len(part)])
                torch.ops.aten.threshold_backward(grad_z, z, 0, grad_input=grad_z)
                grad_beta1 += grad_z.sum(0)
                # around the mean: a difference of the two large sums would cancel
                products += torch.sub(part, mean[:c], out=z).mul_(grad_z).sum(0)
                consumers[start : start + len(part), :c].addcmul_(grad_z, gamma1)
            grad_gamma1 = products * rstd[:c]
            grads[6 * i : 6 * i + 6] = (
                grad_gamma1,
                grad_beta1,
                grad_weight.view_as(w1),
                grad_gamma2,
                grad_beta2,
                grad_w2,
            )
        return _as_images(finish(0, c0), shape), None, *grads


def _update_running_statistics(layers: Sequence[DenseLayerModules], statistics: list[Tensor], rows: int) -> None:
    """What each layer's own batch norms would have done: biased mean, unbiased variance."""
    mean, var, *bottlenecks = statistics
    unbiased = rows / (rows - 1)
    for i, layer in enumerate(layers):
        c = layer.norm1.num_features
        for norm, m, v in ((layer.norm1, mean[:c], var[:c]), (layer.norm2, *bottlenecks[2 * i : 2 * i + 2])):
            norm.num_batches_tracked.add_(1)
            norm.running_mean.lerp_(m, norm.momentum)
            norm.running_var.lerp_(v * unbiased, norm.momentum)


def _evaluate(x: Tensor, layers: Sequence[DenseLayerModules]) -> Tensor:
    """The block with running statistics: the second norm is folded into the 1x1 convolution. No gradients."""
    c0, k = x.shape[1], layers[0].conv2.out_channels
    buffer = _new_buffer(x, c0 + len(layers) * k)
    rows = buffer.shape[0]
    for i, layer in enumerate(layers):
        c = c0 + i * k
        norm1, norm2 = layer.norm1, layer.norm2
        scale = norm1.weight * torch.rsqrt(norm1.running_var + norm1.eps)
        shift = norm1.bias - norm1.running_mean * scale
        scale2 = norm2.weight * torch.rsqrt(norm2.running_var + norm2.eps)
        weight = (layer.conv1.weight.flatten(1) * scale2[:, None]).t()
        bias = norm2.bias - norm2.running_mean * scale2
        chunks = _chunks(rows, c, x.element_size())
        temporary = x.new_empty(min(chunks.step, rows), c)
        u = x.new_empty(rows, weight.shape[1])
        for start in chunks:
            part = buffer[start : start + chunks.step, :c]
            z = _activate(part, scale, shift, temporary[: len(part)])
            torch.addmm(bias, z, weight, out=u[start : start + len(part)])
        new = F.conv2d(_as_images(u.relu_(), x.shape), layer.conv2.weight, padding=1)
        buffer[:, c : c + k] = _as_rows(new)
    return _as_images(buffer, x.shape)
