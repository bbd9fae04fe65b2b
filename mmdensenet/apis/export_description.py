"""Describe an exported model: its source, classes, input and preprocessing."""

import os
from pathlib import Path

from mmengine.config import Config
from mmengine.model import BaseModel
from torch import Tensor

from mmdensenet.checkpoints.checkpoint_file import sha256
from mmdensenet.checkpoints.checkpoint_sources import local_copy
from mmdensenet.export.fold import ScoresOf
from mmdensenet.export.metadata import Metadata, plain_steps
from mmdensenet.version import __version__

from .inference import pipeline_of
from .models import names_of
from .runner import config_name


def describe(
    cfg: Config,
    model: BaseModel,
    checkpoint: str,
    first: Tensor,
    batch: int | None,
    with_preprocess: bool,
    any_size: bool,
    int8: bool,
) -> Metadata:
    """Return the description that an exported file carries.

    Args:
        first: (C, H, W), an image as the test pipeline leaves it.
        batch: images at once; None for any number.
        any_size: the graph resizes or crops images of any size.
    """
    preprocessor, head = model.data_preprocessor, model.head
    channels, height, width = first.shape
    to_rgb = preprocessor.to_rgb and channels == 3
    pipeline = plain_steps(pipeline_of(cfg))
    loads = bool(pipeline) and 'Load' in pipeline[0]['type']
    order = 'grey' if channels == 1 else 'RGB' if to_rgb or not loads else 'BGR'
    mean, std = (
        [float(v) for v in getattr(preprocessor, name).flatten()] if preprocessor._enable_normalize else None
        for name in ('mean', 'std')
    )
    scores = ScoresOf(model)
    classes = names_of(model, checkpoint)
    threshold = getattr(head, 'thr', None)
    return Metadata(
        version=__version__,
        model=config_name(cfg),
        checkpoint=os.path.basename(checkpoint.rstrip('/')),
        sha256=_sha256(checkpoint),
        classes=[str(name) for name in classes] if classes else None,
        num_classes=head.num_classes,
        multi_label=scores.multi_label,
        threshold=None if threshold is None else float(threshold),
        topk=getattr(head, 'topk', None) if scores.multi_label else None,
        channels=channels,
        order=order,
        size=[height, width],
        batch=batch,
        mean=mean,
        std=std,
        pipeline=pipeline,
        reads='BGR' if to_rgb or order == 'BGR' else 'RGB',
        with_preprocess=with_preprocess,
        any_size=any_size,
        int8=int8,
    )


def _sha256(checkpoint: str) -> str:
    """Return the hash of the file, or of the local copy of a download; '' where there is neither."""
    file = local_copy(checkpoint) if '://' in checkpoint else Path(checkpoint)
    return sha256(file) if file.is_file() else ''
