"""The interface of every architecture of a classifier."""

from typing import ClassVar

import torch
from torch import nn


class ClassifierArchitecture:
    """``num_classes`` is None without a head; ``features`` is the number of channels that the head reads."""

    kind: ClassVar[str]
    num_classes: int | None
    features: int

    def backbone(self, in_channels: int | None = None) -> dict:
        """The arguments of the backbone, whose registered type is ``kind``."""
        raise NotImplementedError

    def neck(self) -> dict:
        """Type and arguments of a classifier's neck."""
        raise NotImplementedError

    def modules(self) -> tuple[nn.Module, nn.Module]:
        """The backbone, and the neck of a classifier."""
        raise NotImplementedError

    def shapes(self) -> dict[str, torch.Size]:
        """Our keys and shapes of a classifier of this architecture; those of neck and head only with a head."""
        with torch.device('meta'):
            backbone, neck = self.modules()
        found = {f'backbone.{key}': value.shape for key, value in backbone.state_dict().items()}
        if self.num_classes is not None:
            found.update({f'neck.{key}': value.shape for key, value in neck.state_dict().items()})
            found['head.fc.weight'] = torch.Size([self.num_classes, self.features])
            found['head.fc.bias'] = torch.Size([self.num_classes])
        return found
