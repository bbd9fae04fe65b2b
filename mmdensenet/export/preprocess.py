"""The part of the preprocessing that is exact inside a graph: from pixels to normalised inputs."""

import torch
from torch import Tensor, nn

from .metadata import Metadata


class Preprocess(nn.Module):
    """uint8 images (N, H, W, C), RGB or grey, to the normalised inputs (N, C, H, W) of the model.

    Reading, resizing and cropping stay outside: decoders and OpenCV's resizing in fixed point have no equal among the
    operators of the formats.
    """

    def __init__(self, metadata: Metadata):
        super().__init__()
        self.flip = metadata.order == 'BGR'
        self.mean: Tensor | None
        self.std: Tensor | None
        for name in ('mean', 'std'):
            values = getattr(metadata, name)
            self.register_buffer(
                name, None if values is None else torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 1)
            )

    def forward(self, images: Tensor) -> Tensor:
        x = images.permute(0, 3, 1, 2).float()
        return self.normalise(x.flip(1) if self.flip else x)

    def normalise(self, x: Tensor) -> Tensor:
        """Pixels (N, C, H, W) in the order of the means."""
        return x if self.mean is None else (x - self.mean) / self.std
