"""``norm_cfg=dict(type='SyncBN')`` that also trains on CPUs."""

import mmcv.cnn  # noqa: F401  registers torch's class as 'SyncBN', so it must come first
import torch.distributed as dist
from mmengine.registry import MODELS as ROOT_MODELS
from torch import Tensor, nn

from mmdensenet.ops import sync_batch_norm


@ROOT_MODELS.register_module('SyncBN', force=True)
class SyncBatchNorm(nn.SyncBatchNorm):
    """torch's SyncBatchNorm, with an all-reduce of our own where torch refuses: training on CPU tensors.

    Takes the place of 'SyncBN' in mmengine's root registry, in which mmcv registers torch's. On a GPU, in evaluation
    and without several ranks it is torch's class unchanged.
    """

    def forward(self, input: Tensor) -> Tensor:
        distributed = dist.is_available() and dist.is_initialized()
        if not (self.training and distributed and input.device.type == 'cpu'):
            return super().forward(input)
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
