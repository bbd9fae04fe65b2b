"""Stateless functions behind the modules of :mod:`mmdensenet.models`.

Nothing here imports mmengine, mmcv or anything else of mmdensenet: a function gets tensors and the modules whose
parameters it reads, and returns tensors.
"""

from .reference import dense_block, dense_layer
from .sync_batch_norm import sync_batch_norm

__all__ = ['dense_block', 'dense_layer', 'sync_batch_norm']
