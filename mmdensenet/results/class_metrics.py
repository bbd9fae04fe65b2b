"""Overall and per-class metrics with intervals; shares are in percent."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from mmdensenet.results.ranking import by_image, rank
from mmdensenet.terminal import each

from .bootstrap import Estimate, Resampling, divide, estimate, mean_of_labels, nan_mean
from .scores import Scores

#: bound of resamplings x images x classes for the intervals of AUROC and average precision: about 15 seconds
RANKING_BUDGET = 10_000_000_000
#: with fewer resamplings there is no interval
FEWEST_RESAMPLINGS = 100
#: classes with fewer images have no interval, because nearly all resamplings are alike
FEWEST_IMAGES = 5


@dataclass(frozen=True)
class Metric:
    """A metric with its ``unit``, '%' or '', and ``what`` it is as text."""

    name: str
    estimate: Estimate
    unit: str
    what: str

    @property
    def digits(self) -> int:
        return 2 if self.unit else 3


@dataclass(frozen=True)
class ClassMetrics:
    """One class or label: images with and without it (unknown ones are neither), predictions of it, metrics by name.

    With several labels ``table`` is ((true positives, false negatives), (false positives, true negatives)). A label
    that is not ``decided`` is never predicted: it has neither table nor metrics of predictions.
    """

    name: str
    images: int
    others: int
    predicted: int
    metrics: dict[str, Estimate]
    table: tuple[tuple[int, int], tuple[int, int]] | None = None
    decided: bool = True


def compute_metrics(scores: Scores, resampling: Resampling) -> tuple[list[Metric], list[ClassMetrics]]:
    """Overall metrics, and those of each class in the order of the classes."""
    ranking = rank_classes(scores, resampling)
    if scores.multi_label:
        counted, parts = _per_label(scores, resampling)
        kappa, predicted = None, (scores.predicted & (scores.truth >= 0)).sum(0)
    else:
        counted, kappa = _per_class(scores, resampling)
        parts = [None] * len(scores.classes)
        predicted = np.bincount(scores.predicted, minlength=len(scores.classes))
    counted |= ranking
    overall = _overall(scores, resampling, counted, kappa)
    positive, negative = (scores.targets == 1).sum(0), (scores.targets == 0).sum(0)
    classes = []
    for i, name in enumerate(scores.classes):
        few = min(positive[i], negative[i]) < FEWEST_IMAGES
        metrics = {
            key: estimate(values[i], None if few or drawn is None else drawn[:, i])
            for key, (values, drawn) in counted.items()
        }
        decided = bool(scores.is_decided[i])
        counts = int(positive[i]), int(negative[i]), int(predicted[i])
        classes.append(ClassMetrics(name, *counts, metrics, parts[i] if decided else None, decided))
    return overall, classes


def count_confusions(truth: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """(C, C) numbers of images: true classes (N,) in rows, predicted ones in columns."""
    return np.bincount(truth * classes + predicted, minlength=classes**2).reshape(classes, classes)


def count_labels(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """(L, 2, 2) numbers of images for each label of ``truth`` (N, L): present and absent in rows, predicted and not
    predicted in columns. Unknown labels, neither 1 nor 0, are not counted."""
    counts = [(truth == value) & (predicted == answer) for value in (1, 0) for answer in (True, False)]
    return np.stack([count.sum(0) for count in counts], 1).reshape(-1, 2, 2)


Counted = dict[str, tuple[np.ndarray, np.ndarray | None]]


def _quotients(
    hit: np.ndarray, present: np.ndarray, predicted: np.ndarray, rejected: np.ndarray, absent: np.ndarray
) -> dict[str, np.ndarray]:
    """Metrics in percent from true positives, positives, predictions, true negatives and negatives, (..., C) each."""
    return {
        'precision': 100 * divide(hit, predicted),
        'recall': 100 * divide(hit, present),
        'specificity': 100 * divide(rejected, absent),
        'F1': np.where(present > 0, 200 * divide(hit, present + predicted), np.nan),
    }


def _kappa(hit: np.ndarray, present: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Cohen's kappa (doi:10.1177/001316446002000104) of (..., C): the agreement beyond that of the same numbers drawn
    by chance."""
    images = present.sum(-1)
    chance = divide((present * predicted).sum(-1), images**2)
    return divide(divide(hit.sum(-1), images) - chance, 1 - chance)


def _per_class(scores: Scores, resampling: Resampling) -> tuple[Counted, Estimate]:
    """The metrics of each class, and Cohen's kappa. Resampling images is resampling cells of the confusion matrix."""
    count = len(scores.classes)
    cells, place = np.unique(scores.truth * count + scores.predicted, return_inverse=True)
    number = np.arange(len(cells))
    true, predicted = np.divmod(cells, count)

    def sums(counts: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
        of_true, of_predicted, of_hit = (
            csr_array((keep.astype(float), (which, number)), shape=(count, len(cells)))
            for which, keep in (
                (true, np.ones(len(cells))),
                (predicted, np.ones(len(cells))),
                (true, true == predicted),
            )
        )
        hit, present, predictions = ((part @ counts.T).T for part in (of_hit, of_true, of_predicted))
        absent = counts.sum(1, keepdims=True) - present
        return _quotients(hit, present, predictions, absent - predictions + hit, absent), _kappa(
            hit, present, predictions
        )

    values, kappa = sums(np.bincount(place, minlength=len(cells))[None].astype(float))
    drawn, kappas = sums(resampling.counts(place, len(cells)))
    return {name: (values[name][0], drawn[name]) for name in values}, estimate(kappa[0], kappas)


def _per_label(scores: Scores, resampling: Resampling) -> tuple[Counted, list]:
    present, absent, predicted = scores.truth == 1, scores.truth == 0, scores.predicted
    parts = [present & predicted, present, (present | absent) & predicted, absent & ~predicted, absent]

    def sums(add) -> dict[str, np.ndarray]:
        return _quotients(*map(add, parts))

    values = sums(lambda part: part.sum(0).astype(float))
    drawn = sums(lambda part: (resampling.weights @ part.astype(np.float32)).astype(float))
    tables = count_labels(scores.truth, predicted)
    decided = scores.is_decided
    return {name: tuple(np.where(decided, found[name], np.nan) for found in (values, drawn)) for name in values}, [
        tuple(map(tuple, table.tolist())) for table in tables
    ]


def rank_classes(scores: Scores, resampling: Resampling) -> Counted:
    """'AUROC' and 'average precision' in percent: the values (C,), and those of resamplings (B, C) or None."""
    count = len(scores.classes)
    most = RANKING_BUDGET // (len(scores) * count)
    drawn = resampling.weights[:most] if most >= FEWEST_RESAMPLINGS and _enough(scores) else None
    weights = by_image(np.ones((1, len(scores)), np.float32))
    if drawn is not None:
        weights += by_image(drawn)
    targets, ranked = scores.targets, scores.scores
    if count == 2 and not scores.multi_label:
        # both by the second: of sure scores one is rounded to 1, and the other is not, so that the areas would differ
        ranked = ranked[:, 1:] * [-1, 1]
    labels = each(range(count), 'computing AUROC and average precision')
    values = 100 * np.stack([rank(ranked[:, i], targets[:, i], weights) for i in labels], 2)
    return {
        name: (found[0], found[1:] if drawn is not None else None)
        for name, found in zip(('AUROC', 'average precision'), values)
    }


def _enough(scores: Scores) -> bool:
    """Whether most classes have enough images for intervals of means over classes: otherwise resamplings lack classes,
    and are too optimistic about those with repeated images."""
    images = (scores.targets == 1).sum(0)
    return 2 * (images >= FEWEST_IMAGES).sum() >= (images > 0).sum()


def _overall(scores: Scores, resampling: Resampling, counted: Counted, kappa: Estimate | None) -> list[Metric]:
    enough = _enough(scores)

    def macro(name: str) -> Estimate:
        values, drawn = counted[name]
        if not enough or drawn is None:
            return estimate(nan_mean(values, 0), None)
        return estimate(*mean_of_labels(values, drawn))

    def mean(values: np.ndarray, of: np.ndarray | None = None, factor: float = 1) -> Estimate:
        total = divide(values.sum(), len(values) if of is None else of.sum())
        return estimate(factor * total, factor * resampling.mean(values, of))

    if scores.multi_label:
        known = (scores.truth >= 0) & scores.is_decided
        right = (known & (scores.predicted == (scores.truth == 1))).sum(1)
        kind, rest = 'mean over labels', ''
        metrics = [
            Metric('label accuracy', mean(right, known.sum(1), 100), '%', 'known labels that are predicted right'),
            Metric('macro recall', macro('recall'), '%', f'{kind} of the share of presences recognised (sensitivity)'),
            Metric('macro specificity', macro('specificity'), '%', f'{kind} of the share of absences recognised'),
        ]
    else:
        order = np.argsort(-scores.scores, axis=1, kind='stable')[:, :5]
        ranks = order == scores.truth[:, None]
        kind, rest = 'mean over classes that have images', ', each against the rest'
        right = scores.predicted == scores.truth
        name, what = ('top-1 accuracy', 'best') if scores.positive is None else ('accuracy', 'decided')
        metrics = [Metric(name, mean(right, factor=100), '%', f'images whose {what} class is right')]
        if len(scores.classes) > 5:
            top5 = mean(ranks.any(1), factor=100)
            metrics.append(Metric('top-5 accuracy', top5, '%', 'images whose class is among the best five'))
        metrics.append(Metric('balanced accuracy', macro('recall'), '%', f'{kind} of the recall'))
    if kappa is not None:
        what = 'agreement with the true classes beyond chance; 1 is perfect, 0 is chance'
        metrics.append(Metric("Cohen's kappa", kappa, '', what))
    return [
        *metrics,
        Metric('macro F1', macro('F1'), '%', f'{kind} of the harmonic mean of precision and recall'),
        Metric('macro AUROC', macro('AUROC'), '%', f'{kind} of the area under the ROC curve' + rest),
        Metric(
            'macro average precision', macro('average precision'), '%', f'{kind} of the area under the PR steps' + rest
        ),
    ]
