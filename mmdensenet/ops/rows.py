"""Images as rows: a matrix (M, C), M = N*H*W, one row per pixel; and the buffer that a block's features live in."""

import torch
from torch import Tensor

Shape = tuple[int, int, int]


def new_buffer(x: Tensor, channels: int) -> Tensor:
    """A buffer (M, channels) that begins with the input's channels."""
    n, c, h, w = x.shape
    # GPUs load 16 bytes at a time where every row begins at a multiple of them
    stride = -(-channels // 8) * 8 if x.is_cuda else channels
    buffer = x.new_empty(n * h * w, stride)[:, :channels]
    buffer.view(n, h, w, channels)[..., :c] = x.permute(0, 2, 3, 1)
    return buffer


def empty_like_buffer(buffer: Tensor) -> Tensor:
    """An uninitialised buffer with the same row stride, which torch.empty_like would drop."""
    return torch.empty_strided(buffer.shape, buffer.stride(), dtype=buffer.dtype, device=buffer.device)


def as_images(rows: Tensor, shape: Shape) -> Tensor:
    """(M, c) as (N, c, H, W) in channels-last order."""
    return rows.view(*shape, rows.shape[1]).permute(0, 3, 1, 2)


def own_images(rows: Tensor, shape: Shape) -> Tensor:
    """:func:`as_images` as a tensor that is no view: autograd forbids in-place changes of a view made inside an op."""
    images = as_images(rows, shape)
    return rows.new_empty(0).set_(rows.untyped_storage(), rows.storage_offset(), images.shape, images.stride())


def as_rows(images: Tensor) -> Tensor:
    return images.permute(0, 2, 3, 1).reshape(-1, images.shape[1])


def is_channels_last(x: Tensor) -> bool:
    """Return whether torch takes x, (N, C, H, W), for a tensor in channels-last order."""
    if x.stride(1) == 0:
        return False
    least = 0
    for i in (1, 3, 2, 0):
        size, stride = x.shape[i], x.stride(i)
        if size == 0 or stride < least or (i == 0 and least == x.stride(1)):
            return False
        least = stride * max(size, 1)
    return True
