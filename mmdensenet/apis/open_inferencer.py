"""One way to open whatever predicts: a config or name with a checkpoint, or an exported file."""

from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.model import BaseModel

from mmdensenet.errors import UserError

from .exported import ExportedInferencer
from .inference import ImageLike, Inferencer
from .runner import EXPORTED_SUFFIXES


def open_inferencer(
    model: BaseModel | Config | str | Path,
    checkpoint: str | None = None,
    device: str | torch.device | None = None,
    classes: Sequence[str] | None = None,
) -> Inferencer:
    """Return an inferencer for ``model``.

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
        if checkpoint is not None:
            raise UserError(f'{model} is an exported file, which has its weights: leave the checkpoint out.')
        return ExportedInferencer(model, device, classes)
    return Inferencer(str(model) if isinstance(model, Path) else model, checkpoint, device, classes)


def inference(
    model: BaseModel | Config | str | Path,
    images: ImageLike | Sequence[ImageLike],
    checkpoint: str | None = None,
    *,
    batch_size: int = 32,
    device: str | torch.device | None = None,
    show_dir: str | None = None,
) -> list[dict]:
    """Predict the classes of images with a model, or with an exported file; see :func:`open_inferencer`.

    For many calls keep what :func:`open_inferencer` returns, and call it.

    Args:
        model, checkpoint, device: as for :func:`open_inferencer`.
        images: one or several: paths, folders, URLs, lists of paths, the bytes of image files, PIL images, or arrays
            (H, W) or (H, W, C) in the order BGR.
        batch_size: images of a forward pass.
        show_dir: folder for a picture of each image with its prediction.

    Returns:
        For each image a dict with ``pred_scores`` (numpy, one score per class), ``pred_label``, ``pred_score`` and,
        where names are known, ``pred_class``; see :class:`Inferencer`.

    Raises:
        UserError: for an image that cannot be read, and as :func:`open_inferencer` does.
    """
    return open_inferencer(model, checkpoint, device)(images, batch_size, show_dir)


def is_exported(model: object) -> bool:
    """Whether ``model`` names a file of an exported model, by its ending."""
    return isinstance(model, (str, Path)) and str(model).lower().endswith(EXPORTED_SUFFIXES)
