"""BlurPool (arXiv:1904.11486): subsampling that does not alias."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class BlurPool(nn.Module):
    """The binomial filter [1, 2, 1] / 4 in both directions, then every second value: (N, C, H, W) to half of it.

    Edges are reflected. It has no parameters and nothing in the state dict.
    """

    def __init__(self):
        super().__init__()
        line = torch.tensor([1.0, 2.0, 1.0]) / 4
        self.register_buffer('kernel', line[:, None] * line[None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        kernel = self.kernel.to(x.dtype).expand(channels, 1, 3, 3)
        return F.conv2d(F.pad(x, [1] * 4, mode='reflect'), kernel, stride=2, groups=channels)
