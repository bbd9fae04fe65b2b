"""The preprocessing inside a graph: from the pixels of an image file to normalised inputs."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .metadata import Metadata
from .resample import Resample, ResizeAndCrop


class Preprocess(nn.Module):
    """uint8 images (N, H, W, C), RGB or grey, to the normalised inputs (N, C, H, W) of the model.

    With ``steps`` they are images of any size, as they are read, and are resized and cropped first. Decoding files
    stays outside: the formats have no operator for it.
    """

    def __init__(self, metadata: Metadata, steps: Sequence[ResizeAndCrop] = ()):
        super().__init__()
        self.resample = nn.Sequential(*map(Resample, steps))
        self.flip = metadata.order == 'BGR'
        self.mean: Tensor | None
        self.std: Tensor | None
        for name in ('mean', 'std'):
            values = getattr(metadata, name)
            self.register_buffer(
                name, None if values is None else torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 1)
            )

    def forward(self, images: Tensor) -> Tensor:
        x = self.resample(images).permute(0, 3, 1, 2).float()
        return self.normalise(x.flip(1) if self.flip else x)

    def normalise(self, x: Tensor) -> Tensor:
        """Pixels (N, C, H, W) in the order of the means."""
        return x if self.mean is None else (x - self.mean) / self.std
