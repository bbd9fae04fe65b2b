"""Stateless functions behind the modules of :mod:`mmdensenet.models`.

Nothing here imports mmengine, mmcv or anything else of mmdensenet: a function gets tensors and the modules whose
parameters it reads, and returns tensors.
"""

from .applicability import has_hooks, is_exporting, stem_is_fusable, transition_is_fusable, why_not_fused
from .fused import fused_dense_block, fused_dense_stage
from .rdnet import buffered_rdnet_stage, rdnet_stage, why_not_buffered
from .reference import dense_block, dense_layer
from .stem import evaluate_stem, fused_stem
from .sync_batch_norm import sync_batch_norm

__all__ = [
    'buffered_rdnet_stage',
    'dense_block',
    'dense_layer',
    'evaluate_stem',
    'fused_dense_block',
    'fused_dense_stage',
    'fused_stem',
    'has_hooks',
    'is_exporting',
    'rdnet_stage',
    'stem_is_fusable',
    'sync_batch_norm',
    'transition_is_fusable',
    'why_not_buffered',
    'why_not_fused',
]
