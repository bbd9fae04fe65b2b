"""The latest of equally good checkpoints as the best."""

from typing import ClassVar

from mmengine.hooks import CheckpointHook

from mmdensenet.registry import HOOKS


@HOOKS.register_module()
class LatestBestCheckpointHook(CheckpointHook):
    """mmengine's CheckpointHook, which keeps the latest of equally good checkpoints instead of the first.

    On a small validation part the metric reaches its maximum (AUROC 1) after a few epochs, long before the network
    stops improving.
    """

    rule_map: ClassVar = {'greater': lambda x, y: x >= y, 'less': lambda x, y: x <= y}
