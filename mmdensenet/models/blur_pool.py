"""BlurPool (arXiv:1904.11486): subsampling that does not alias."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class BlurPool(nn.Module):
    """The binomial filter [1, 2, 1] / 4 in both directions with stride 2: (N, C, H, W) to (N, C, (H+1)//2, (W+1)//2).

    It pads by reflection, and has neither parameters nor entries in the state dict.
    """

    def __init__(self):
        super().__init__()
        self.register_buffer('kernel', _binomial(), persistent=False)

    def _apply(self, fn, recurse: bool = True):
        had_no_values = self.kernel.is_meta
        super()._apply(fn, recurse)
        if had_no_values and not self.kernel.is_meta:  # to_empty gives it none, and no state dict has them
            self.kernel.copy_(_binomial())
        return self

    def forward(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        weight = self.kernel.to(x.dtype).expand(channels, 1, 3, 3)
        return F.conv2d(F.pad(x, [1] * 4, mode='reflect'), weight, stride=2, groups=channels)


def _binomial() -> Tensor:
    filter_1d = torch.tensor([1.0, 2.0, 1.0]) / 4
    return filter_1d[:, None] * filter_1d[None]
