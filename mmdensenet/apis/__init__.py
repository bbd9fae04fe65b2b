"""What the tools call, for use from Python too."""

from .config import load_config
from .test import test_model
from .train import train_model

__all__ = ['load_config', 'test_model', 'train_model']
