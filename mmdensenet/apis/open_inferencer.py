"""One way to open whatever predicts: a config or name with a checkpoint, or an exported file."""

from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.model import BaseModel

from mmdensenet.errors import UserError

from .inference import Inferencer

#: endings of the files that tools/export.py writes
EXPORTED_SUFFIXES = ('.onnx', '.xml', '.pt2')


def open_inferencer(
    model: BaseModel | Config | str | Path,
    checkpoint: str | None = None,
    device: str | torch.device | None = None,
    classes: Sequence[str] | None = None,
) -> Inferencer:
    """What predicts images with ``model``.

    Args:
        model: a config file, a name of the model zoo, a model of :func:`mmdensenet.get_model`, or a file that
            ``tools/export.py`` wrote, known by its ending (.onnx, .xml or .pt2).
        checkpoint: path or URL of weights in any layout; None takes the model zoo's.
        device: by default the GPU if there is one.
        classes: names of the classes, if nothing else knows them.

    Returns:
        An object with ``classes`` (names or None) that is called with images, ``batch_size`` and ``show_dir``; see
        :class:`Inferencer`.

    Raises:
        UserError: as :func:`mmdensenet.get_model` does, and for an exported file that cannot be read.
    """
    if is_exported(model):
        raise UserError(f'{model}: exported files cannot be opened yet. Give the config and its checkpoint.')
    return Inferencer(str(model) if isinstance(model, Path) else model, checkpoint, device, classes)


def is_exported(model: object) -> bool:
    """Whether ``model`` names a file of an exported model, by its ending."""
    return isinstance(model, (str, Path)) and str(model).lower().endswith(EXPORTED_SUFFIXES)
