"""Compare the scores of an exported file with those of PyTorch."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from mmdensenet.export.runtime import ExportedModel
from mmdensenet.results import RankingMetric
from mmdensenet.results.decisions import Decided
from mmdensenet.terminal import each

from .export_images import BATCH, ExportImages, Target


def compare(
    scores_of: nn.Module,
    normalised: Callable[[Tensor], Tensor],
    source: ExportImages,
    whole: ExportImages | None,
    done,
    count: int,
) -> None:
    """Compare an exported file with the unfolded model, and set the results on ``done``.

    Args:
        scores_of: the model, with ``logits``, of normalised images.
        whole: the images of ``source`` as they are read, for a graph that resizes.
        done: :class:`.export.Export`, with the file and its description.
        count: images.
    """
    exported = ExportedModel(done.file)
    decisions = done.metadata.read_decisions(str(done.file))
    outputs = {'scores': scores_of} if decisions is None else {'scores': scores_of, 'logits': scores_of.logits}
    given, expected = ({name: [] for name in outputs} for _ in range(2))
    targets = []
    lists = whole.lists(count) if whole else itertools.repeat(None)
    count = min(count, len(source))
    batches = each(zip(source.batches(count), lists), f'comparing with PyTorch on {count} images', -(-count // BATCH))
    for (pixels, of_batch), pairs in batches:
        ready = normalised(pixels)
        images = pixels if pairs is None else [image for image, _ in pairs]
        for name, function in outputs.items():
            with torch.no_grad():
                expected[name].append(function(ready).numpy())
            given[name].append(exported.scores(images, name))
        targets += of_batch
    given, expected = ({name: np.concatenate(parts) for name, parts in of.items()} for of in (given, expected))
    _fill_in(done, given['scores'], expected['scores'], targets)
    if decisions is not None and math.isfinite(done.difference):
        _compare_decided(done, decisions.apply(given['logits']), decisions.apply(expected['logits']), targets)


def _fill_in(done, given: np.ndarray, expected: np.ndarray, targets: list[Target]) -> None:
    done.images = len(given)
    difference = float(np.abs(given - expected).max())
    done.difference = difference if math.isfinite(difference) else math.inf
    finite = np.isfinite(given) & np.isfinite(expected)  # of others the largest is no class
    if done.metadata.multi_label:
        threshold = 0.5 if done.metadata.threshold is None else done.metadata.threshold
        done.agreement = float((((given >= threshold) == (expected >= threshold)) & finite).mean())
        if not finite.all():
            return
        ranking = [_macro_auroc(scores, targets) for scores in (given, expected)]
        if all(map(math.isfinite, ranking)):  # else no label has both positives and negatives among these images
            done.accuracy, done.torch_accuracy = ranking
        return
    labels, torch_labels = given.argmax(1), expected.argmax(1)
    done.agreement = float(((labels == torch_labels) & finite.all(1)).mean())
    if finite.all():
        _accuracies(done, labels, torch_labels, targets)


def _accuracies(done, labels: np.ndarray, torch_labels: np.ndarray, targets: list[Target]) -> None:
    true = [target.get('gt_label') for target in targets]
    known = [i for i, label in enumerate(true) if label is not None and label.numel() == 1]
    if known:
        truth = np.array([int(true[i]) for i in known])
        done.accuracy, done.torch_accuracy = (float((each[known] == truth).mean()) for each in (labels, torch_labels))


def _macro_auroc(scores: np.ndarray, targets: list[Target]) -> float:
    metric = RankingMetric(('auroc',), prefix='export')
    rows = zip(torch.from_numpy(scores), targets)
    metric.process(None, [dict(target, pred_score=row) for row, target in rows if target])
    return metric.compute_metrics(metric.results)['auroc/macro'] if metric.results else math.nan


def _compare_decided(done, given: Decided, expected: Decided, targets: list[Target]) -> None:
    """Set agreement and accuracy of decided labels, sets and marks, in the place of the head's predictions."""
    difference = float(np.abs(given.probabilities - expected.probabilities).max())
    done.difference = max(done.difference, difference)
    if done.metadata.multi_label:
        done.agreement = float((given.positive == expected.positive).mean())
    else:
        done.agreement = float((given.labels == expected.labels).mean())
        _accuracies(done, given.labels, expected.labels, targets)
    if expected.sets is not None:
        done.same_sets = float((given.sets == expected.sets).all(1).mean())
    if expected.ood is not None:
        done.same_flags = float((given.ood == expected.ood).mean())
