"""Turns a normalised batch back into pictures."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from mmdensenet.datasets.wrappers import reads_files


def to_pictures(inputs: Tensor, preprocessor: nn.Module | None, bgr: bool = False) -> list[np.ndarray]:
    """What a data preprocessor made of images, with its mean and standard deviation undone.

    Args:
        inputs: (N, C, H, W) as the model gets it.
        preprocessor: the model's; its ``mean`` and ``std`` are used if it has them.
        bgr: whether three channels are in BGR order, because nothing has turned them (:func:`is_bgr`).

    Returns:
        (H, W, 3) uint8 RGB each. One channel is grey; of other numbers than 1 and 3 the mean is drawn. Values outside
        0..255 are clipped, but if the whole batch fits into 0..1 it is stretched to 0..255.
    """
    values = inputs.detach().cpu().double()
    mean, std = getattr(preprocessor, 'mean', None), getattr(preprocessor, 'std', None)
    if mean is not None and std is not None:
        values = values * std.cpu().double() + mean.cpu().double()
    if values.shape[1] != 3:
        values = values.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    elif bgr:
        values = values.flip(1)
    if values.numel() and values.max() <= 1.001:
        values = values * 255
    pixels = values.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
    return list(pixels.numpy())


def is_bgr(preprocessor: nn.Module | None, pipeline: Sequence[dict]) -> bool:
    """Whether the model is fed BGR: files are read as BGR, data sets in memory have RGB, and ``to_rgb`` swaps."""
    return reads_files(pipeline) != bool(getattr(preprocessor, 'to_rgb', False))
