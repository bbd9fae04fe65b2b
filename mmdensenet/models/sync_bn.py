"""``norm_cfg=dict(type='SyncBN')`` on machines without a GPU."""

import mmcv.cnn  # noqa: F401  registers torch's class as 'SyncBN', so it must come first
import torch.distributed as dist
from mmengine.device import get_device
from mmengine.registry import MODELS as ROOT_MODELS
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from mmdensenet.compat.torch import SYNC_BATCH_NORM
from mmdensenet.ops import known, sync_batch_norm


@known
class SyncBatchNorm(_BatchNorm):
    """Batch norm over the batches of all ranks, for CPU tensors.

    torch's SyncBatchNorm refuses CPU tensors, and DistributedDataParallel refuses torch's class on CPUs, so this class
    is no subclass of it. Without an initialised process group, and in evaluation, it is plain batch norm.

    Args:
        process_group: the ranks to synchronise with, by default all. The other arguments are those of BatchNorm2d.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        process_group: dist.ProcessGroup | None = None,
    ):
        super().__init__(num_features, eps, momentum, affine, track_running_stats)
        self.process_group = process_group

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f'expected at least 2 dimensions, got {input.dim()}')

    def forward(self, input: Tensor) -> Tensor:
        if not (self.training and dist.is_available() and dist.is_initialized()):
            return super().forward(input)
        self._check_input_dim(input)
        tracked = self.track_running_stats
        momentum = self.momentum
        if tracked:
            self.num_batches_tracked.add_(1)
            if momentum is None:  # a plain average over all batches so far
                momentum = 1 / self.num_batches_tracked.item()
        return sync_batch_norm(
            input,
            self.weight,
            self.bias,
            self.running_mean if tracked else None,
            self.running_var if tracked else None,
            momentum,
            self.eps,
            self.process_group,
        )


@SYNC_BATCH_NORM.repaired_by
def allow_sync_batch_norm_on_cpu() -> None:
    if get_device() == 'cpu':
        ROOT_MODELS.register_module('SyncBN', module=SyncBatchNorm, force=True)
