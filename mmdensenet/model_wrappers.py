"""Models inside other models, and optimizers beside others."""

from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from torch import nn


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside wrappers for several processes (DistributedDataParallel) and for test-time augmentation."""
    while is_model_wrapper(model) or not (hasattr(model, 'backbone') or not hasattr(model, 'module')):
        model = model.module
    return model


def optim_wrappers(runner) -> list[OptimWrapper]:
    """A runner's optimizer wrapper, or each of several, as of a GAN."""
    wrapper = runner.optim_wrapper
    return list(wrapper.values()) if hasattr(wrapper, 'values') else [wrapper]
