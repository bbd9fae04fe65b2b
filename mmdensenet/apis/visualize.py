"""The pictures of tools/visualize.py: from configs, checkpoints and work directories to files."""

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import init_default_scope

from mmdensenet.analysis.augmentation import augmentation_figure, augmented_images
from mmdensenet.analysis.cam import add_colour_bar, class_activation, overlay, require_grad_cam
from mmdensenet.analysis.confusion import (
    confusion_figure,
    confusion_matrix,
    label_counts,
    label_counts_figure,
    most_confused,
    read_predictions,
)
from mmdensenet.analysis.denormalise import is_bgr, to_pictures
from mmdensenet.analysis.embedding import choose_images, embedding_figure, pooled_features, tsne
from mmdensenet.analysis.reuse import feature_reuse, reuse_figure
from mmdensenet.analysis.runs import curves_figure, read_runs
from mmdensenet.analysis.schedule import schedule_figure, simulate_schedule
from mmdensenet.datasets.labels import unlabelled_parts
from mmdensenet.datasets.wrappers import dataset_classes, first_pipeline, leaf_configs
from mmdensenet.errors import UserError
from mmdensenet.results.figures import picture_grid, save_figure, shorten
from mmdensenet.terminal import each, temporary_work_dir, waiting

from .config_data import name_bad_images, require_data
from .image_lists import expand
from .inference import Inferencer, pipeline_of
from .models import class_names, get_model
from .runner import open_config
from .summary import summarise
from .tasks import require_one_task
from .test import test_model


def draw_data(
    config: str | Config,
    out: str | Path = 'data.png',
    *,
    indices: Sequence[int] | None = None,
    images: int = 4,
    draws: int = 5,
    seed: int = 0,
    options: dict | None = None,
) -> Path:
    """Draw several outputs of the training pipeline, as the model gets them; see :func:`augmented_images`."""
    cfg = open_config(config, options)
    name_bad_images(cfg)
    require_data(cfg, 'train_dataloader')
    rows = augmented_images(cfg, indices, images, draws, seed)
    return save_figure(augmentation_figure(rows, _name(cfg)), out)


def draw_schedule(
    config: str | Config,
    out: str | Path = 'schedule.png',
    *,
    dataset_size: int | None = None,
    world_size: int = 1,
    options: dict | None = None,
) -> Path:
    """Learning rate and momentum over training; see :func:`simulate_schedule`."""
    cfg = open_config(config, options)
    return save_figure(schedule_figure(simulate_schedule(cfg, dataset_size, world_size), _name(cfg)), out)


def draw_curves(
    work_dirs: Sequence[str | Path],
    out: str | Path = 'curves.png',
    *,
    names: Sequence[str] | None = None,
    metrics: Sequence[str] | None = None,
) -> Path:
    """Losses and metrics of several runs together; see :func:`curves_figure`."""
    runs, unit = read_runs(work_dirs, names)
    return save_figure(curves_figure(runs, unit, metrics), out)


def draw_cam(
    config: str | Config,
    checkpoint: str,
    images: Sequence[str],
    out: str | Path = 'cam.png',
    *,
    methods: Sequence[str] = ('gradcam', 'gradcam++'),
    target: str | None = None,
    layer: str | None = None,
    options: dict | None = None,
) -> Path:
    """A row per image: as the model gets it, then the class activation map of each method over it.

    Args:
        images: files or folders.
        target: the class of the maps, by name or number; by default each image's predicted one.
        layer: see :func:`class_activation`.
    """
    require_grad_cam()  # before a model is built
    cfg = open_config(config, options)
    pipeline_of(cfg)
    files = [file for item in images for file in expand(item)]
    if len(files) > 100:
        raise UserError(f'{len(files)} images do not fit into one picture: draw at most 100.')
    inferencer = Inferencer(_model(cfg, checkpoint))
    model = inferencer.model
    names = inferencer.classes or _test_classes(model._config)
    label = None if target is None else _class(target, names)
    preprocessor = model.data_preprocessor
    bgr = is_bgr(preprocessor, first_pipeline(model._config.test_dataloader, 'test_dataloader'))
    pictures, titles = [], []
    for file in each(files, 'computing activation maps'):
        [batch] = inferencer.preprocess([file])
        inputs = preprocessor(batch, False)['inputs']
        with torch.no_grad():
            logits = model(inputs, mode='tensor')[0]
        scores = logits.sigmoid() if inferencer.multi_label else logits.softmax(0)
        predicted = int(logits.argmax())
        if inferencer.decisions is not None:
            decided = inferencer.decisions.apply(logits[None].double().cpu().numpy())
            [scores] = decided.probabilities
            predicted = predicted if inferencer.multi_label else int(decided.labels[0])
        shown = predicted if label is None else label
        [picture] = to_pictures(inputs, preprocessor, bgr)
        maps = [class_activation(model, inputs, [shown], method, layer=layer)[0] for method in methods]
        name = shorten(names[shown]) if names else f'class {shown}'
        pictures.append([picture, *(overlay(picture, cam) for cam in maps)])
        titles.append(
            ['/'.join(Path(str(file)).parts[-2:]), *(f'{method}: {name} {scores[shown]:.2f}' for method in methods)]
        )
    where = f', at {layer}' if layer else ''
    figure = picture_grid(pictures, titles, f'{_name(model._config)}{where}', cell=2.4)
    add_colour_bar(figure)
    return save_figure(figure, out)


def draw_confusion(
    config: str | Config,
    checkpoint: str | None = None,
    out: str | Path = 'confusion.png',
    *,
    predictions: str | None = None,
    normalise: str = 'true',
    options: dict | None = None,
) -> tuple[Path, list[tuple[str, str, int]]]:
    """The confusion matrix of the test set; with several labels per image, each label's hits and misses.

    Args:
        checkpoint: tested as ``tools/test.py`` does; or
        predictions: the file that ``tools/test.py --out`` wrote (.npz, .json, .parquet).

    Returns:
        The picture, and the most frequent confusions as (true class, predicted class, images).
    """
    if (checkpoint is None) == (predictions is None):
        raise UserError('give a checkpoint to test, or predictions=FILE of `mmdensenet test --out`.')
    cfg = open_config(config, options)
    require_one_task(cfg.model.get('head'), 'a confusion matrix')
    if predictions is not None:
        found = read_predictions(predictions)
    else:
        with temporary_work_dir() as folder:
            # mmengine's names of runs have seconds, so that two of one second would be the same
            cfg.experiment_name = f'confusion_{Path(folder).name}'
            test_model(cfg, checkpoint, work_dir=folder, out=str(Path(folder, 'predictions.npz')))
            found = read_predictions(Path(folder, 'predictions.npz'))
    names = _test_classes(cfg)
    if names is not None and len(names) != found.classes:
        raise UserError(
            f"{predictions} has {found.classes} classes and the config's test set {len(names)}: they are not of one "
            'data set.'
        )
    decided = ', as decided' if found.decided else ''
    if found.multi_label:
        title = f'{_name(cfg)}: {len(found.truth)} images with several labels{decided}'
        return save_figure(label_counts_figure(label_counts(found), names, title), out), []
    matrix = confusion_matrix(found)
    accuracy = 100 * matrix.trace() / matrix.sum()
    title = f'{_name(cfg)}: {len(found.truth)} images, {accuracy:.2f}% right{decided}'
    pairs = [
        (names[true] if names else str(true), names[predicted] if names else str(predicted), number)
        for true, predicted, number in most_confused(matrix)
    ]
    return save_figure(confusion_figure(matrix, names, normalise, title), out), pairs


def draw_embedding(
    config: str | Config,
    checkpoint: str,
    out: str | Path = 'embedding.png',
    *,
    split: str = 'test',
    images: int = 1000,
    classes: int = 20,
    perplexity: float = 30,
    seed: int = 0,
    options: dict | None = None,
) -> Path:
    """t-SNE of the pooled features of images of ``split`` ('train', 'val' or 'test'), through the test pipeline."""
    model = _model(config, checkpoint, options)
    cfg = deepcopy(model._config)
    for key, why in ((f'{split}_dataloader', 'to draw'), ('test_dataloader', 'whose pipeline prepares the images')):
        if cfg.get(key) is None:
            raise UserError(f'the config has no {key}, {why}.')
    loader = cfg[f'{split}_dataloader']
    name_bad_images(cfg)
    require_data(cfg, f'{split}_dataloader')
    settings = deepcopy(loader.dataset)
    require_one_task(cfg.model.get('head'), 'an embedding')
    prepare = None if split == 'test' else pipeline_of(cfg)  # the test set's parts may have several
    for _, leaf in leaf_configs(settings) if prepare is not None else ():
        leaf['pipeline'] = deepcopy(prepare)
    dataset = _build(cfg, settings)
    if unlabelled_parts(dataset):
        raise UserError(f'the {split} set has no labels, which an embedding shows as colours.')
    chosen = choose_images(dataset, images, classes, seed)
    features, labels = pooled_features(model, dataset, chosen)
    names = dataset_classes(dataset)
    of_all = f' of {len(names)}' if names and len(names) > classes else ''
    present = f'{len({label for some in labels for label in some})}{of_all} classes'
    title = f'{_name(cfg)}: {len(labels)} {split} images of {present}, {features.shape[1]} features'
    with waiting('arranging them by t-SNE'):
        places = tsne(features, perplexity, seed)
    return save_figure(embedding_figure(places, labels, names, title), out)


def draw_reuse(
    config: str | Config,
    checkpoint: str,
    out: str | Path = 'reuse.png',
    *,
    scale: str = 'reader',
    options: dict | None = None,
) -> Path:
    """Figure 5 of the DenseNet paper; see :func:`feature_reuse`."""
    model = _model(config, checkpoint, options)
    return save_figure(reuse_figure(feature_reuse(model), scale, f'{_name(model._config)}: feature reuse'), out)


def _model(config: str | Config, checkpoint: str, options: dict | None = None) -> BaseModel:
    model = get_model(open_config(config, options), pretrained=checkpoint)
    summarise(model, checkpoint)
    return model


def _name(cfg: Config) -> str:
    return Path(cfg.filename or '').stem


def _build(cfg: Config, dataset: dict):
    init_default_scope(cfg.get('default_scope') or 'mmpretrain')
    from mmpretrain.registry import DATASETS

    return DATASETS.build(dataset)


def _test_classes(cfg: Config) -> list[str] | None:
    """The names of the test set's classes, which a data set of folders only has where the folders are."""
    names = class_names(cfg)
    if names is None and cfg.get('test_dataloader') is not None:
        try:
            names = dataset_classes(_build(cfg, deepcopy(cfg.test_dataloader.dataset)))
        except (OSError, RuntimeError, AssertionError, UserError):
            return None  # predictions can be read where the images are not
    return list(names) if names is not None else None


def _class(target: str, names: Sequence[str] | None) -> int:
    if target.isdigit():
        return int(target)
    short = [name.split(',')[0] for name in names or ()]
    for known in (list(names or ()), short):
        if target in known:
            return known.index(target)
    raise UserError(f'class {target} does not exist; give its number, or one of {", ".join(short[:20]) or "none"}.')
