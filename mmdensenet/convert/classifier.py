"""The interface of every architecture of a classifier."""

import re
from collections.abc import Iterable
from typing import ClassVar

import torch
from torch import nn


class ClassifierArchitecture:
    """``num_classes`` is None without a head; ``features`` is the number of channels that the head reads.

    A subclass also has ``backbone``, the arguments of the backbone, whose registered type is ``kind``, and ``neck``.
    """

    kind: ClassVar[str]
    num_classes: int | None
    features: int
    #: whether the weights of a neck are there, which they may be without a head
    has_neck: bool = False

    def modules(self) -> tuple[nn.Module, nn.Module]:
        """The backbone, and the neck of a classifier."""
        raise NotImplementedError

    def shapes(self) -> dict[str, torch.Size]:
        """Our keys and shapes of a classifier of this architecture; those of a head only with one."""
        with torch.device('meta'):
            backbone, neck = self.modules()
        found = {f'backbone.{key}': value.shape for key, value in backbone.state_dict().items()}
        if self.num_classes is not None or self.has_neck:
            found.update({f'neck.{key}': value.shape for key, value in neck.state_dict().items()})
        if self.num_classes is not None:
            found['head.fc.weight'] = torch.Size([self.num_classes, self.features])
            found['head.fc.bias'] = torch.Size([self.num_classes])
        return found


def layers_per_stage(keys: Iterable[str], pattern: str) -> tuple[int, ...]:
    """The number of layers in each stage, from the keys that match a pattern with the numbers of stage and layer."""
    numbers = [(int(match[1]), int(match[2])) for match in (re.match(pattern, key) for key in keys) if match]
    stages = range(1 + max(stage for stage, _ in numbers))
    return tuple(1 + max((layer for s, layer in numbers if s == stage), default=-1) for stage in stages)
