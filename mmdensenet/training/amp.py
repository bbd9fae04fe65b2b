"""An ``AmpOptimWrapper`` that also works without a GPU."""

import torch
from mmengine.device import get_device
from mmengine.optim import AmpOptimWrapper as _AmpOptimWrapper
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS

from mmdensenet.compat.mmengine import AMP
from mmdensenet.errors import UserError


class AmpOptimWrapper(_AmpOptimWrapper):
    """mmengine's mixed-precision optimiser wrapper; on a CPU bfloat16 autocast, which needs no loss scaling.

    It is registered instead of mmengine's class, and behaves like that class on an accelerator.
    """

    def __init__(self, loss_scale='dynamic', dtype=None, use_fsdp: bool = False, **kwargs):
        if get_device() != 'cpu':
            super().__init__(loss_scale, dtype, use_fsdp, **kwargs)
            return
        if dtype not in (None, 'bfloat16', torch.bfloat16):
            raise UserError(
                f'optim_wrapper.dtype={dtype}: mixed precision on a CPU is bfloat16 only. Leave dtype out, or '
                'train on a GPU.'
            )
        OptimWrapper.__init__(self, **kwargs)
        self._scale_update_param = None
        self.loss_scaler = torch.amp.GradScaler('cpu', enabled=False)
        self.cast_dtype = torch.bfloat16

    def state_dict(self) -> dict:
        state = super().state_dict()
        if not self.loss_scaler.is_enabled():  # a GPU that resumes from it starts with its own scale
            state.pop('loss_scaler')
        return state


@AMP.repaired_by
def allow_amp_on_cpu() -> None:
    OPTIM_WRAPPERS.register_module(module=AmpOptimWrapper, force=True)
