"""Percentile intervals from resampled images."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A value and the bounds of its interval; undefined ones are nan."""

    value: float
    low: float = float('nan')
    high: float = float('nan')


class Resampling:
    """The count of each image in each resampling.

    Args:
        images: N.
        groups: (N,) numbers; images of a group are drawn together. None draws single images.
        count: B, resamplings.
        progress: wraps the iteration over the resamplings, for a progress bar.

    ``weights`` is (B, N) float32 with whole numbers. For one group or one image B is 0, because all would be alike.
    """

    def __init__(
        self,
        images: int,
        groups: np.ndarray | None = None,
        count: int = 1000,
        seed: int = 0,
        progress: Callable[[np.ndarray], Iterable[np.ndarray]] = iter,
    ):
        members = np.arange(images) if groups is None else np.unique(groups, return_inverse=True)[1].ravel()
        number = int(members.max(initial=-1)) + 1
        rng = np.random.default_rng(seed)
        self.weights = np.empty((count if number > 1 else 0, images), np.float32)
        for row in progress(self.weights):
            row[:] = np.bincount(rng.integers(number, size=number), minlength=number)[members]

    def mean(self, values: np.ndarray, of: np.ndarray | None = None) -> np.ndarray:
        """(B, ...) means of ``values`` (N, ...), or sums of them over sums of ``of``; nan where there are none.

        Computed in float32, in which sums of whole numbers are exact up to 16 million.
        """
        of = np.ones(len(values), np.float32) if of is None else of
        return divide(self.weights @ values.astype(np.float32), self.weights @ of.astype(np.float32))

    def counts(self, cells: np.ndarray, number: int) -> np.ndarray:
        """(B, number) counts of the images of each resampling in each cell (N,)."""
        rows = [np.bincount(cells, weights=row, minlength=number) for row in self.weights]
        return np.array(rows).reshape(-1, number)


def divide(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """The quotient, nan where the divisor is 0."""
    below = np.broadcast_to(below, np.shape(above))
    return np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below != 0)


def nan_mean(values: np.ndarray, axis: int) -> np.ndarray:
    """The mean of the defined values; nan if there are none."""
    defined = ~np.isnan(values)
    return divide(np.where(defined, values, 0).sum(axis), defined.sum(axis))


def mean_of_labels(values: np.ndarray, drawn: np.ndarray) -> tuple[float, np.ndarray]:
    """The mean over the labels that have a value (C,), and (B,) the means over the same labels of resamplings (B, C).

    A label that has none in a resampling, as a rare one whose images were not drawn, keeps its value there: without it
    that mean would be one over other labels. A resampling in which no label has a value has no mean (nan).
    """
    known = ~np.isnan(values)
    drawn = drawn[:, known]
    some = ~np.isnan(drawn).all(1, keepdims=True)
    return nan_mean(values, 0), nan_mean(np.where(np.isnan(drawn) & some, values[known], drawn), 1)


def estimate(value: float, resampled: np.ndarray | None, confidence: float = CONFIDENCE) -> Estimate:
    """A value with the percentile interval of its resampled values (B,).

    There is no interval without them, or if they are all equal, as for a model without errors: they then carry no
    information on other images.
    """
    if resampled is None:
        return Estimate(float(value))
    resampled = resampled[~np.isnan(resampled)]
    if not len(resampled) or np.isnan(value):
        return Estimate(float(value))
    low, high = np.percentile(resampled, [50 * (1 - confidence), 50 * (1 + confidence)])
    return Estimate(float(value), float(low), float(high)) if low < high else Estimate(float(value))
