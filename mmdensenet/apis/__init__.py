"""The functions behind the commands, for use from Python."""

from .config import load_config
from .export import export_model
from .exported import ExportedInferencer
from .inference import Inferencer
from .models import get_model, list_models
from .open_inferencer import inference, open_inferencer
from .test import test_model
from .train import train_model

__all__ = [
    'ExportedInferencer',
    'Inferencer',
    'export_model',
    'get_model',
    'inference',
    'list_models',
    'load_config',
    'open_inferencer',
    'test_model',
    'train_model',
]
