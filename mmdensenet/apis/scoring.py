"""Scores of a part of the data: the test as the report and the decisions use it."""

from pathlib import Path, PureWindowsPath
from urllib.parse import unquote

import numpy as np
from mmengine.config import Config
from mmengine.model import BaseModel
from mmpretrain.registry import DATASETS

from mmdensenet.datasets.class_lists import class_lists
from mmdensenet.datasets.labels import unlabelled_parts
from mmdensenet.datasets.wrappers import dataset_classes, sample_info
from mmdensenet.errors import UserError
from mmdensenet.results.decided import is_multi_label
from mmdensenet.results.scores import Scores, read_scores
from mmdensenet.terminal import temporary_work_dir

from .models import get_model, require_classes_of
from .runner import open_config
from .test import test_model


def score_part(config: str | Config, checkpoint: str, part: str = 'test', cfg_options: dict | None = None) -> Scores:
    """Scores with logits, true labels and groups of the config's validation or test part.

    Args:
        part: 'val' or 'test'.

    Raises:
        UserError: if the config has no such part, it has no labels, and as :func:`.test.test_model` does.
    """
    cfg = open_config(config, cfg_options)
    if cfg.get(f'{part}_dataloader') is None:
        raise UserError(f'the config has no {part}_dataloader, so there is nothing to score.')
    if part != 'test':
        cfg.test_dataloader = cfg[f'{part}_dataloader']
    cfg.test_evaluator = None  # the scores are wanted, not its metrics
    model = get_model(cfg, checkpoint)  # it sets the scope, in which wrappers of mmengine's build what they wrap
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    if unlabelled_parts(dataset):
        raise UserError(f'{part}_dataloader: its images have no labels.')
    return run_test(cfg, checkpoint, model, dataset, logits=True)[0]


def run_test(
    cfg: Config,
    checkpoint: str,
    model: BaseModel,
    dataset,
    predictions: str | Scores | None = None,
    logits: bool = False,
) -> tuple[Scores, dict]:
    """The scores of the test part, and the metrics of the config's evaluator.

    Args:
        model: of :func:`mmdensenet.get_model`, with the checkpoint.
        dataset: the test part, built.
        predictions: what ``tools/test.py --out FILE`` wrote, or read, in the place of a test; then there are no
            metrics.
        logits: keep the logits, and leave decisions alone: new ones are made for what the old ones are not for.

    Raises:
        UserError: if predictions are of another data set, and as :func:`.test.test_model` does.
    """
    several = is_multi_label(model.head)
    threshold = getattr(model.head, 'thr', None)
    threshold = 0.5 if threshold is None else threshold
    require_classes_of(model, class_lists(dataset, 'test_dataloader.dataset'), checkpoint)
    known = [dataset_classes(dataset), (model._dataset_meta or {}).get('classes')]
    classes = next((names for names in known if names and len(names) == model.head.num_classes), None)
    if isinstance(predictions, Scores):
        scores, metrics = predictions, {}
    elif predictions is not None:
        scores, metrics = read_scores(predictions, several, classes, threshold), {}
    else:
        with temporary_work_dir() as folder:
            file = f'{folder}/predictions.npz'
            metrics = test_model(cfg, checkpoint, work_dir=folder, out=file, logits=logits, decide=not logits)
            try:
                scores = read_scores(file, several, classes, threshold)
            except UserError as error:
                raise UserError(str(error).replace(file, str(checkpoint))) from error
    if len(dataset) and scores.index.max() >= len(dataset):
        raise UserError(f'{predictions} is of another data set: it has image {scores.index.max()} of {len(dataset)}.')
    if isinstance(predictions, (str, Path)):
        _require_same_images(scores, dataset, predictions)
    if sample_info(dataset, int(scores.index[0])).get('group') is not None:
        groups = np.unique([sample_info(dataset, int(i))['group'] for i in scores.index], return_inverse=True)[
            1
        ].ravel()
        # where every image has its own group nothing is grouped, and a report must not say that it is
        scores.groups = groups if groups.max() + 1 < len(scores) else None
    return scores, metrics


def _require_same_images(scores: Scores, dataset, file: str | Path) -> None:
    """Compare the names of the images, without folders and endings, which change where data are moved or converted: an
    image more or less in the data set, and each would have the group and the picture of its neighbour.

    Raises:
        UserError: for the first place at which the data set has another image.
    """
    for place, path in zip(scores.index.tolist(), scores.paths):
        there = str(sample_info(dataset, place).get('img_path') or '')
        if path and there and _name(path) != _name(there):
            raise UserError(
                f'{file} is of another data set: its image {place} is {_name(path)!r}, here it is {_name(there)!r}. '
                'Test again, or state the data that were tested.'
            )


def _name(path: str) -> str:
    if '://' in path:  # of a shard the image's path stands behind #, quoted
        path = unquote(path.rpartition('#')[2])
    return PureWindowsPath(path).name.partition('.')[0]
