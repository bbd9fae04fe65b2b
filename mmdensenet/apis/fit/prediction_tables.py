"""Tables of predictions: the image, and a column for each class or label with its probability."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope
from mmpretrain.registry import TRANSFORMS

from mmdensenet.apis.config_data import name_bad_images
from mmdensenet.apis.inference import Inferencer, pipeline_of
from mmdensenet.apis.runner import open_config
from mmdensenet.terminal import each

from .image_names import Unlabelled, called_images


def require_readable(images: Unlabelled, config: str) -> None:
    """Prepare each image as the config's test pipeline does: before hours of training, not after.

    Raises:
        UserError: naming the first image that cannot be prepared.
    """
    cfg = open_config(config)
    name_bad_images(cfg)
    init_default_scope('mmpretrain')
    pipeline = Compose([TRANSFORMS.build(step) for step in pipeline_of(cfg)])
    for _, path in each(images.pairs, 'reading the images to predict'):
        if not path.endswith('.npy'):  # an array is not loaded by the pipeline
            pipeline(dict(img_path=path))


def write_submission(
    file: Path, inferencer: Inferencer, images: Unlabelled | str | Path | Sequence, column: str = 'image'
) -> None:
    """Predict images without labels, called as in the folder or the table that they are from.

    Args:
        column: what the first column is called, where the images do not say it.

    Raises:
        UserError: if there are none, or one cannot be read.
    """
    if not isinstance(images, Unlabelled):
        images = Unlabelled(column, called_images(images))
    results = inferencer([path for _, path in images.pairs])
    classes = inferencer.classes or [str(i) for i in range(len(results[0]['pred_scores']))]
    scores = np.stack([result['pred_scores'] for result in results])
    write_table(file, images.column, [name for name, _ in images.pairs], classes, scores)


def write_table(file: Path, column: str, images: Sequence[str], classes: Sequence[str], values: np.ndarray) -> None:
    """A row for each image: its name, in ``column``, and its values (C,) in columns called as the classes.

    Nine digits tell apart what float32 does: decisions and ranks can be computed from the file.
    """
    while column in classes:  # two columns of one name would be read as one
        column = f'{column} (image)'
    with file.open('w', encoding='utf-8', newline='') as out:
        writer = csv.writer(out, lineterminator='\n')
        writer.writerow([column, *classes])
        for image, row in zip(images, values, strict=True):
            writer.writerow([image, *(f'{value:.9g}' for value in row.tolist())])
