"""Modules: they own parameters and state-dict names, and call :mod:`mmdensenet.ops`."""

from .blur_pool import BlurPool
from .dense_block import DenseBlock, DenseLayer, DenseTransition
from .densenet import DenseNet
from .masked_bce_loss import MaskedBCELoss
from .rdnet import LayerNorm2d, NormedAveragePooling, RDNet, RDNetBlock, RDNetStage
from .sync_bn import SyncBatchNorm

__all__ = [
    'BlurPool',
    'DenseBlock',
    'DenseLayer',
    'DenseNet',
    'DenseTransition',
    'LayerNorm2d',
    'MaskedBCELoss',
    'NormedAveragePooling',
    'RDNet',
    'RDNetBlock',
    'RDNetStage',
    'SyncBatchNorm',
]
