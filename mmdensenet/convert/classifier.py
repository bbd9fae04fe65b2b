"""What every architecture of a classifier can say of itself."""

import torch
from torch import nn


class ClassifierArchitecture:
    """``num_classes`` is None without a head; ``features`` are the channels that the head reads."""

    num_classes: int | None
    features: int

    def modules(self) -> tuple[nn.Module, nn.Module]:
        """The backbone, and the neck that a classifier has."""
        raise NotImplementedError

    def shapes(self) -> dict[str, torch.Size]:
        """Our keys of a classifier of this architecture, with shapes; neck's and head's if there is one."""
        with torch.device('meta'):
            backbone, neck = self.modules()
        found = {f'backbone.{key}': value.shape for key, value in backbone.state_dict().items()}
        if self.num_classes is not None:
            found.update({f'neck.{key}': value.shape for key, value in neck.state_dict().items()})
            found['head.fc.weight'] = torch.Size([self.num_classes, self.features])
            found['head.fc.bias'] = torch.Size([self.num_classes])
        return found
