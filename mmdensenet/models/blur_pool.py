"""BlurPool (arXiv:1904.11486): subsampling that does not alias."""

import torch.nn.functional as F
from torch import Tensor

from .fixed_buffers import FixedBuffers


class BlurPool(FixedBuffers):
    """The binomial filter [1, 2, 1] / 4 in both directions with stride 2: (N, C, H, W) to (N, C, (H+1)//2, (W+1)//2).

    It pads by reflection, and has neither parameters nor entries in the state dict.
    """

    def __init__(self):
        super().__init__(kernel=[[a * b / 16 for b in (1, 2, 1)] for a in (1, 2, 1)])

    def forward(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        weight = self.kernel.to(x.dtype).expand(channels, 1, 3, 3)
        return F.conv2d(F.pad(x, [1] * 4, mode='reflect'), weight, stride=2, groups=channels)
