"""Testing an exported file: its own preparation of images and its own scores, with the metrics of a config."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmpretrain.registry import DATASETS, TRANSFORMS

from mmdensenet.datasets.class_lists import ClassList, class_lists, require_same_classes
from mmdensenet.datasets.labels import unlabelled_parts
from mmdensenet.datasets.wrappers import first_pipeline, leaves, sample_info
from mmdensenet.errors import UserError
from mmdensenet.results.decided import note_decisions
from mmdensenet.results.decided_metric import DecidedMetric
from mmdensenet.results.decisions import OTHERS, UNCALIBRATED
from mmdensenet.terminal import each

from .exported import ExportedInferencer

#: images at once
BATCH = 32


def metrics_of_exported(cfg: Config, file: str, writer: Any, report: Callable[[str], None]) -> dict[str, float]:
    """The metrics of ``test_evaluator``, and those of the file's decisions as ``decided/NAME``.

    Args:
        cfg: whose test set has paths, or images in memory; the file says how they are prepared.
        writer: a metric that writes predictions, or None.
        report: called with each line on what is decided.

    Raises:
        UserError: if the file cannot be read, or the test set is of other classes or has some labels only.
    """
    inferencer = ExportedInferencer(file)
    decisions = inferencer.decisions
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    own = [ClassList(str(file), tuple(map(str, inferencer.classes)), is_checkpoint=True)] if inferencer.classes else []
    require_same_classes([*own, *class_lists(dataset, 'test_dataloader.dataset')])
    without = len(unlabelled_parts(dataset))
    if without and without < len(leaves(dataset)):
        raise UserError('test_dataloader: some of its parts have labels and others have not: test each by itself.')
    wanted = None if without else cfg.get('test_evaluator')
    if not wanted and writer is None:
        raise UserError('there are no labels or no test_evaluator, so there are no metrics: give out=FILE.')
    evaluator = Evaluator(deepcopy(wanted) or [])
    for line in [UNCALIBRATED] if decisions is None else decisions.lines():
        report(line)
    if decisions is not None and evaluator.metrics:
        report(OTHERS)
        evaluator.metrics.append(DecidedMetric(decisions))
    if writer is not None:
        evaluator.metrics.append(writer)
    evaluator.dataset_meta = getattr(dataset, 'metainfo', None)
    steps = first_pipeline(cfg.test_dataloader, 'test_dataloader')
    packing = [step for step in steps if 'PackInputs' in str(step['type'])]
    pack = TRANSFORMS.build(packing[-1] if packing else dict(type='PackInputs'))
    starts = range(0, len(dataset), BATCH)
    for start in each(starts, f'testing {file} on {len(dataset):,} images', len(starts)):
        infos = [sample_info(dataset, i) for i in range(start, min(start + BATCH, len(dataset)))]
        pixels = [inferencer.prepare(_image(info, inferencer.wants_bgr))['inputs'] for info in infos]
        samples = [pack({key: value for key, value in info.items() if key != 'img'})['data_samples'] for info in infos]
        for sample, row in zip(samples, torch.from_numpy(inferencer.model.scores(pixels))):
            sample.set_pred_score(row).set_pred_label(inferencer._labels(row))
        if decisions is not None:
            for sample, row in zip(samples, torch.from_numpy(inferencer.model.logits(pixels))):
                sample.set_field(row, 'logits', dtype=torch.Tensor)
            note_decisions(decisions, samples)
        evaluator.process(data_samples=samples, data_batch={})
    return evaluator.evaluate(len(dataset))


def _image(info: dict, wants_bgr: bool) -> str | np.ndarray:
    """The path, or the pixels in BGR order; a data set has them in memory in the order that the model takes."""
    if 'img' in info:
        pixels = np.asarray(info['img'])
        return pixels[..., ::-1] if pixels.ndim == 3 and pixels.shape[2] == 3 and not wants_bgr else pixels
    if not info.get('img_path'):
        raise UserError('test_dataloader: its data set has neither paths nor images in memory, which a file needs.')
    return info['img_path']
