"""Converts a normalised batch back to pictures."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from mmdensenet.datasets.wrappers import reads_files


def to_pictures(inputs: Tensor, preprocessor: nn.Module | None, bgr: bool = False) -> list[np.ndarray]:
    """Preprocessed images as pictures: the inverse of the preprocessor's normalisation.

    Args:
        inputs: (N, C, H, W) as the model gets it.
        preprocessor: the model's; its ``mean`` and ``std`` are used if it has them.
        bgr: whether three channels are in BGR order (:func:`is_bgr`).

    Returns:
        RGB pictures (H, W, 3) uint8. One channel is shown as grey, other numbers than 3 by their mean. Values outside
        0..255 are clipped; a batch with values in 0..1 is scaled to 0..255.
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
    """Whether the model gets BGR: files are read as BGR, data sets in memory have RGB, and ``to_rgb`` swaps them."""
    return reads_files(pipeline) != bool(getattr(preprocessor, 'to_rgb', False))
