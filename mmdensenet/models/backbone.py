"""What DenseNet and RDNet share as backbones: returned and frozen levels, and layer-wise decay of the learning rate."""

from collections.abc import Sequence

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmdensenet import ops
from mmdensenet.errors import UserError


class Backbone(BaseModule):
    """A stem and levels; a level is what ``out_indices`` and ``frozen_stages`` count.

    A subclass calls :meth:`_set_levels`, has the modules ``stem`` and ``stages``, and defines :meth:`_level_modules`.
    """

    arch_settings: dict[str, dict]
    stem: nn.Module
    norm_eval: bool
    channels_last: bool

    @property
    def memory_format(self) -> torch.memory_format:
        """The memory format of images and weights; a property, because torch.save cannot write one as an attribute."""
        return torch.channels_last if self.channels_last else torch.preserve_format

    def _laid_out(self, x: Tensor) -> Tensor:
        """Images in the memory format; in torch.func's transforms, whose tensors have other dimensions, as they are."""
        if not self.channels_last or (not ops.is_exporting() and torch._C._are_functorch_transforms_active()):
            return x
        return x.to(memory_format=self.memory_format)

    def _settings_of(self, arch: str | dict, required: set[str], optional: Sequence[str] = ()) -> dict:
        """The settings of a named architecture, or those of a dict.

        Raises:
            ValueError: for an unknown name, and a dict without one of the ``required`` keys or with unknown ones.
        """
        if not isinstance(arch, dict):
            arch = str(arch)  # --cfg-options reads 169 as a number
            if arch not in self.arch_settings:
                raise ValueError(f'arch={arch!r}: choose one of {", ".join(self.arch_settings)}, or give a dict')
            arch = self.arch_settings[arch]
        if missing := required - set(arch):
            raise ValueError(f'arch lacks {", ".join(sorted(missing))}; it has {", ".join(sorted(arch)) or "nothing"}')
        # a config that merges a dict into none leaves _delete_ in it
        if unknown := set(arch) - required - {*optional, '_delete_'}:
            known = ', '.join([*sorted(required), *optional])
            raise ValueError(f'arch: {", ".join(sorted(map(str, unknown)))} is unknown; known are {known}')
        return arch

    def _set_levels(
        self, count: int, unit: str, out_indices: int | Sequence[int], frozen_stages: int, freeze_stem: bool
    ) -> None:
        """Check and keep the arguments that count levels; ``unit`` names levels in messages.

        Raises:
            ValueError: for a level that does not exist.
        """
        indices = (out_indices,) if isinstance(out_indices, int) else tuple(out_indices)
        if not indices:
            raise ValueError(f'out_indices is empty: give one or more of the {count} {unit}')
        for index in indices:
            if not -count <= index < count:
                raise ValueError(f'out_indices: {index} is not one of the {count} {unit}')
        if not -1 <= frozen_stages <= count:
            raise ValueError(
                f'frozen_stages={frozen_stages}: there are only {count} {unit}; 0 and -1 freeze nothing, and '
                'freeze_stem=True the stem alone'
            )
        #: in ascending order, which is the order of the outputs
        self.out_indices = tuple(sorted({index % count for index in indices}))
        self.frozen_stages = frozen_stages
        self.freeze_stem = freeze_stem
        self._num_levels = count

    def _level_modules(self, level: int) -> list[nn.Module]:
        raise NotImplementedError

    def _level_of_stage(self, stage: int) -> int:
        return stage

    def train(self, mode: bool = True) -> 'Backbone':
        super().train(mode)
        self._freeze_stages()
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """The depth of a parameter and the number of depths, for layer-wise decay of the learning rate.

        The stem has depth 0, level i with its transition depth i + 1, and the head, outside the backbone, the last. A
        level is one step: at the usual 0.75 per layer, the 58 layers of DenseNet-121 would leave the stem nothing.

        Args:
            prefix: of the backbone's parameters in the model.
        """
        last = self._num_levels + 1
        if not param_name.startswith(prefix):
            return last, last + 1
        part, number, *_ = [*param_name.removeprefix(prefix).split('.'), '']
        return (self._level_of_stage(int(number)) + 1 if part in ('stages', 'transitions') else 0), last + 1

    def _freeze_stages(self) -> None:
        frozen = [self.stem] if self.freeze_stem or self.frozen_stages > 0 else []
        for level in range(self.frozen_stages):
            frozen += self._level_modules(level)
        for module in frozen:
            module.eval()
            module.requires_grad_(False)


def check_size(x: Tensor, divisor: int, network: str, advice: str) -> None:
    """A sentence about the image, where torch's is about padding or pooling.

    Args:
        x: what a layer is given that divides height and width.
        network, advice: for the message.

    Raises:
        UserError: if nothing would be left.
    """
    if isinstance(x, Tensor) and x.dim() == 4 and not ops.is_exporting() and min(x.shape[2:]) < divisor:
        height, width = x.shape[2:]
        raise UserError(
            f'the image is too small: {height}x{width} is left where {network} divides height and width by {divisor}. '
            f'{advice}'
        )
