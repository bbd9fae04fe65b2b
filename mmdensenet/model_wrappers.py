"""Models inside other models."""

from mmengine.model import is_model_wrapper
from torch import nn


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside wrappers for several processes (DistributedDataParallel) and for test-time augmentation."""
    while is_model_wrapper(model) or not (hasattr(model, 'backbone') or not hasattr(model, 'module')):
        model = model.module
    return model
