"""Area under the ROC curve and average precision, per label, with intervals."""

from collections.abc import Sequence

import numpy as np
import torch
from mmengine.evaluator import BaseMetric

from mmdensenet.datasets.labels import POSITIVE_ABOVE
from mmdensenet.errors import UserError
from mmdensenet.registry import METRICS

from .bootstrap import Resampling, estimate, mean_of_labels

#: resamplings that are computed together
AT_ONCE = 128


@METRICS.register_module()
class RankingMetric(BaseMetric):
    """AUROC and average precision of each label, or of each class against the others, and their mean.

    Unknown labels (negative in ``gt_score``) do not count. A label with only positives or only negatives, or with a
    score of nan, has no value (nan) and is not in the mean.

    Args:
        items: of 'auroc' and 'ap'.
        bootstrap: the number of resamplings of the images for percentile intervals; 0 means no intervals.
        confidence: share of the resamplings inside the interval.
        seed: of the resamplings.
        group: the key of the samples, such as CSVDataset's 'group', whose equal values are resampled together: images
            of one patient are not independent. None resamples single images.
        collect_device: 'cpu' or 'gpu', where the ranks exchange their results.

    Returns as fractions of 1 ``auroc/macro``, ``auroc/LABEL`` and, with intervals, ``auroc/macro_low``,
    ``auroc/macro_high``, ``auroc/LABEL_low`` and so on; the same of ``ap``. Works across ranks: it collects all scores.

    Raises:
        UserError: if a sample lacks the key ``group``.
    """

    def __init__(
        self,
        items: Sequence[str] = ('auroc', 'ap'),
        bootstrap: int = 0,
        confidence: float = 0.95,
        seed: int = 0,
        group: str | None = None,
        collect_device: str = 'cpu',
        **kwargs,
    ):
        super().__init__(collect_device=collect_device, prefix=kwargs.pop('prefix', None), **kwargs)
        unknown = set(items) - set(_ITEMS)
        if unknown or not 0 < confidence < 1:
            raise UserError(f'RankingMetric: items are of {sorted(_ITEMS)}, confidence is between 0 and 1.')
        self.items, self.bootstrap, self.confidence, self.seed = tuple(items), bootstrap, confidence, seed
        self.group = group

    def process(self, data_batch, data_samples: Sequence[dict]) -> None:
        for sample in data_samples:
            score = sample['pred_score'].detach().cpu().double()
            if 'gt_score' in sample:
                target = sample['gt_score'].detach().cpu().double()
            else:
                target = torch.zeros_like(score)
                target[sample['gt_label'].detach().cpu().long()] = 1
            if self.group is not None and self.group not in sample:
                raise UserError(
                    f'RankingMetric: the samples have no {self.group!r}: set dataset.group_column, and add it to '
                    "meta_keys of the test pipeline's PackInputs."
                )
            self.results.append((score.numpy(), target.numpy(), None if self.group is None else sample[self.group]))

    def compute_metrics(self, results: list) -> dict[str, float]:
        scores = np.stack([np.asarray(score) for score, _, _ in results])
        targets = np.stack([np.asarray(target) for _, target, _ in results])
        names = list((self.dataset_meta or {}).get('classes') or range(scores.shape[1]))
        weights = np.ones((1, len(scores)))
        if self.bootstrap:
            groups = None if self.group is None else np.array([group for _, _, group in results])
            weights = np.concatenate([weights, Resampling(len(scores), groups, self.bootstrap, self.seed).weights])
        metrics: dict[str, float] = {}
        weights = by_image(weights)
        ranks = [rank(scores[:, j], targets[:, j], weights) for j in range(scores.shape[1])]
        for item in self.items:
            values = np.stack([each[_ITEMS.index(item)] for each in ranks], 1)
            macro = mean_of_labels(values[0], values[1:])
            for name, value, drawn in zip(['macro', *names], [macro[0], *values[0]], [macro[1], *values[1:].T]):
                found = estimate(value, drawn, self.confidence)
                metrics[f'{item}/{name}'] = found.value
                if self.bootstrap:
                    metrics[f'{item}/{name}_low'], metrics[f'{item}/{name}_high'] = found.low, found.high
        return metrics


def by_image(weights: np.ndarray) -> list[np.ndarray]:
    """Weights (B, N) as :func:`rank` takes them: parts (N, b) that fit into a processor's cache."""
    return [np.ascontiguousarray(weights[i : i + AT_ONCE].T) for i in range(0, len(weights), AT_ONCE)]


def rank(score: np.ndarray, target: np.ndarray, weights: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(B,) areas under the ROC curve, and (B,) means of the precision over the steps of recall.

    Both have steps only at the scores of positives, so the weights of negatives are summed between these. Sums of whole
    weights are exact up to 16 million.

    Args:
        score, target: (N,); a negative target leaves its image out.
        weights: of :func:`by_image`.

    Returns:
        nan for rows without positives or negatives, and where a score is nan: it has no rank.

    >>> score, target = np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1])
    >>> rank(score, target, by_image(np.ones((1, 4))))[0].tolist()
    [0.75]
    """
    from scipy.sparse import csr_array

    known = np.flatnonzero(target >= 0)
    score, positive = score[known], target[known] > POSITIVE_ABOVE
    levels = np.unique(score[positive])
    count = len(levels)
    if not count or np.isnan(score).any():
        return (np.full(sum(part.shape[1] for part in weights), np.nan),) * 2
    # positives at each level; negatives below the first, at it, between it and the second, ..., above the last
    place = np.searchsorted(levels, score)
    tied = levels[np.minimum(place, count - 1)] == score
    cell = np.where(positive, place, count + 2 * place + tied)
    found = []
    for part in weights:
        ones = np.ones(len(known), part.dtype)
        sums = csr_array((ones, (cell, known)), shape=(3 * count + 1, len(part))) @ part
        at, others = sums[:count].astype(np.float64), sums[count:].astype(np.float64)
        total, negatives = at.sum(0), others.sum(0)
        below, same = others.cumsum(0)[:-1:2], others[1::2]
        true = at[::-1].cumsum(0)[::-1]  # from this level on
        with np.errstate(invalid='ignore', divide='ignore'):
            area = (at * (below + same / 2)).sum(0) / (total * negatives)
            precision = np.nan_to_num(true / (true + negatives - below))
            mean = (at * precision).sum(0) / total
        found.append(np.where((total > 0) & (negatives > 0), (area, mean), np.nan))
    return tuple(np.concatenate(found, 1))


_ITEMS = ('auroc', 'ap')
