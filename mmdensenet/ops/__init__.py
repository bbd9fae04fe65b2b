"""Functions behind the modules of :mod:`mmdensenet.models`.

This package imports neither mmengine, mmcv nor other packages of mmdensenet. A function takes tensors, and modules
whose tensors it reads, and returns tensors. No state persists between calls. In training, the running statistics of the
norms are updated in place, as the norms would do.
"""

from .block.contract import is_exporting, known, watch
from .block.fused import compute_block, compute_stage, fused_dense_block, fused_dense_stage
from .block.plan import is_stem, plan_block, plan_stage, why_not_fused
from .block.reference import dense_block, dense_layer
from .rdnet.buffered_stage import buffered_rdnet_stage
from .rdnet.rdnet_contract import why_not_buffered
from .rdnet.rdnet_stage import rdnet_stage
from .rows import is_channels_last
from .stem import evaluate_stem, fused_stem
from .sync_batch_norm import sync_batch_norm

__all__ = [
    'buffered_rdnet_stage',
    'compute_block',
    'compute_stage',
    'dense_block',
    'dense_layer',
    'evaluate_stem',
    'fused_dense_block',
    'fused_dense_stage',
    'fused_stem',
    'is_channels_last',
    'is_exporting',
    'is_stem',
    'known',
    'plan_block',
    'plan_stage',
    'rdnet_stage',
    'sync_batch_norm',
    'why_not_buffered',
    'why_not_fused',
]

# functions that the models' modules call
watch(globals(), 'dense_block', 'dense_layer', 'rdnet_stage')
