"""Modules: they own parameters and state-dict names, and call :mod:`mmdensenet.ops`."""

from .densenet import DenseBlock, DenseLayer, DenseNet, DenseTransition
from .masked_bce_loss import MaskedBCELoss
from .sync_batch_norm import SyncBatchNorm

__all__ = ['DenseBlock', 'DenseLayer', 'DenseNet', 'DenseTransition', 'MaskedBCELoss', 'SyncBatchNorm']
