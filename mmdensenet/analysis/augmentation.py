"""Shows images after the training pipeline, as the model gets them."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.registry import init_default_scope
from mmpretrain.structures import MultiTaskDataSample

from mmdensenet.datasets.wrappers import dataset_classes, first_pipeline, leaf_configs
from mmdensenet.errors import UserError
from mmdensenet.results.figures import picture_grid, shorten
from mmdensenet.training.random_state import seed_everything, unchanged_random_state

from .denormalise import is_bgr, to_pictures


@dataclass
class Augmented:
    """An image and several draws of the pipeline from it.

    Attributes:
        index: its number in the training set.
        original: the image as read, (H, W, 3) uint8.
        draws: the images that the model gets, (h, w, 3) uint8.
        labels: the original's label, then each draw's: a class, several, or a mixture after MixUp or CutMix.
    """

    index: int
    original: np.ndarray
    draws: list[np.ndarray]
    labels: list[str]


def augmented_images(
    cfg: Config,
    indices: Sequence[int] | None = None,
    images: int = 4,
    draws: int = 5,
    seed: int = 0,
) -> list[Augmented]:
    """Run images through the pipeline of ``train_dataloader`` and the model's data preprocessor.

    The preprocessor is in training mode, with the batch augmentations of ``model.train_cfg``, which mix the images
    shown here with one another.

    Args:
        cfg: a loaded config.
        indices: images of the training set; None chooses ``images`` of them at random.
        seed: of the choice and of the draws. The global random state does not change.

    Returns:
        Each image with ``draws`` draws of it.

    Raises:
        UserError: for an index that does not exist, or if the draws of the images differ in size.
    """
    if images < 1 or draws < 1 or seed < 0:
        raise UserError(f'{images} images, {draws} draws, seed {seed}: give 1 or more, 1 or more, 0 or more.')
    init_default_scope(cfg.get('default_scope') or 'mmpretrain')
    from mmpretrain.registry import DATASETS

    loader = cfg.get('train_dataloader')
    if loader is None:
        raise UserError('the config has no train_dataloader.')
    preprocessor = _preprocessor(cfg)
    dataset = DATASETS.build(loader.dataset)
    unaugmented = DATASETS.build(_only_loading(deepcopy(loader.dataset)))
    rng = np.random.default_rng(seed)
    if indices is None:
        indices = sorted(rng.choice(len(dataset), min(images, len(dataset)), replace=False).tolist())
    for index in indices:
        if not 0 <= index < len(dataset):
            raise UserError(f'image {index} does not exist: the training set has 0 to {len(dataset) - 1}.')
    names = dataset_classes(dataset)

    with unchanged_random_state():
        seed_everything(seed)
        items = [dataset[index] for index in indices for _ in range(draws)]
        sizes = {tuple(item['inputs'].shape) for item in items}
        if len(sizes) > 1:
            raise UserError(f'the training pipeline gives images of several sizes, among them {sorted(sizes)[:2]}.')
        batch = preprocessor(default_collate(items), training=True)
    pipeline = first_pipeline(loader, 'train_dataloader')
    bgr = is_bgr(preprocessor, pipeline)
    drawn = to_pictures(batch['inputs'], preprocessor, bgr)
    labels = [_label(sample, names) for sample in batch['data_samples']]

    result = []
    for i, index in enumerate(indices):
        item = unaugmented[index]
        # the preprocessor has not converted these to RGB
        [original] = to_pictures(item['inputs'][None], None, is_bgr(None, pipeline))
        own = slice(i * draws, (i + 1) * draws)
        result.append(Augmented(index, original, drawn[own], [_label(item['data_samples'], names), *labels[own]]))
    return result


def augmentation_figure(images: Sequence[Augmented], title: str = '') -> Figure:
    """A row for each image: the original, then the draws, each with its label."""
    height, width = images[0].draws[0].shape[:2]
    pictures = [[image.original, *image.draws] for image in images]
    titles = []
    for image in images:
        h, w = image.original.shape[:2]
        mixed = [label if label != image.labels[0] else '' for label in image.labels[1:]]
        drawn = [label or f'draw {i}' for i, label in enumerate(mixed, 1)]
        titles.append([f'no. {image.index}: {image.labels[0]}, {w}x{h}', *drawn])
    heading = f'{title}{": " if title else ""}original, then as the model gets it ({width}x{height})'
    return picture_grid(pictures, titles, heading)


def _preprocessor(cfg: Config):
    """The model's data preprocessor, as ImageClassifier builds it."""
    from mmpretrain.registry import MODELS

    settings = dict(cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor') or {})
    settings.setdefault('type', 'mmpretrain.ClsDataPreprocessor')
    train_cfg = cfg.model.get('train_cfg')
    if train_cfg is not None:
        settings.setdefault('batch_augments', train_cfg)
    return MODELS.build(settings)


def _only_loading(dataset: dict) -> dict:
    for _, leaf in leaf_configs(dataset):
        steps = list(leaf.get('pipeline') or ())
        leaf['pipeline'] = [
            *(step for step in steps[:1] if 'Load' in str(step.get('type'))),
            *(step for step in steps if str(step.get('type')).rpartition('.')[2].startswith('Pack')),
        ]
    return dataset


def _label(sample, names: Sequence[str] | None) -> str:
    def name(label: int) -> str:
        return str(label) if names is None else shorten(names[label], 20)

    if isinstance(sample, MultiTaskDataSample):
        tasks = [(task, _label(inner, None)) for task, inner in sample.items()]
        return ', '.join(f'{task}: {label}' for task, label in tasks if label)
    if 'gt_score' not in sample:
        return ', '.join(map(name, sample.gt_label.tolist())) if 'gt_label' in sample else ''
    shares = {i: share for i, share in enumerate(sample.gt_score.tolist()) if share > 0.005}  # -1 is unknown
    if all(share == 1 for share in shares.values()):
        return ', '.join(map(name, shares)) or 'no label'
    return ' + '.join(f'{share:.2f} {name(i)}' for i, share in sorted(shares.items(), key=lambda item: -item[1]))
