"""Reduces the concatenations, for runtimes that copy all earlier features at each of them."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .fold import FoldedBlock, FoldedDenseNet, FoldedLayer, NormReLU

#: the fastest of 3, 4 and 6 in ONNX Runtime, and of 2, 3, 4 and 6 in OpenVINO
EVERY = 3


def group_concatenations(net: FoldedDenseNet, every: int = EVERY) -> FoldedDenseNet:
    """Concatenate new features with the block's only once every ``every`` layers; the function stays equal to rounding.

    In between a layer reads the two parts separately. Its norm acts on each channel alone, and its 1x1 convolution is
    the sum of one for each part, which runtimes add in place. Blocks without a bottleneck are not changed: their 3x3
    convolution is most of the work, and its result would be read and written once more. The graph changes in place.
    """
    net.blocks = nn.ModuleList(
        GroupedBlock(block, every) if all(layer.conv2 is not None for layer in block) else block for block in net.blocks
    )
    return net


class GroupedBlock(nn.Module):
    """A block whose layers read the features of the last concatenation and the newer ones separately."""

    def __init__(self, block: FoldedBlock, every: int):
        super().__init__()
        self.every = every
        self.layers = nn.ModuleList()
        newer = 0
        for at, layer in enumerate(block):
            self.layers.append(SplitLayer(layer, newer) if newer else layer)
            newer = 0 if (at + 1) % every == 0 else newer + layer.conv2.out_channels

    def forward(self, x: Tensor) -> Tensor:
        new: list[Tensor] = []
        for layer in self.layers:
            new.append(layer(x, torch.cat(new, 1) if len(new) > 1 else new[0]) if new else layer(x))
            if len(new) == self.every:
                x, new = torch.cat((x, *new), 1), []
        return torch.cat((x, *new), 1) if new else x


class SplitLayer(nn.Module):
    """A layer that reads its features in two parts, of which the second has ``newer`` channels."""

    def __init__(self, layer: FoldedLayer, newer: int):
        super().__init__()
        older = len(layer.norm.scale) - newer
        self.norms = nn.ModuleList((_part(layer.norm, 0, older), _part(layer.norm, older, newer)))
        self.weights = nn.ParameterList(
            nn.Parameter(part.clone(), requires_grad=False) for part in layer.conv1.weight.split((older, newer), 1)
        )
        self.bias, self.conv2 = layer.conv1.bias, layer.conv2

    def forward(self, older: Tensor, newer: Tensor) -> Tensor:
        x = F.conv2d(self.norms[0](older), self.weights[0], self.bias)
        x = x + F.conv2d(self.norms[1](newer), self.weights[1])
        return self.conv2(F.relu(x))


def _part(norm: NormReLU, start: int, count: int) -> NormReLU:
    made = NormReLU.__new__(NormReLU)
    nn.Module.__init__(made)
    for name, values in norm.named_buffers():
        made.register_buffer(name, values[start : start + count].clone())
    return made
