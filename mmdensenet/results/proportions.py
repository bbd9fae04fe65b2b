"""Shares with intervals, such as sensitivity and specificity."""

import math

import numpy as np
from scipy.special import ndtri

from .bootstrap import CONFIDENCE, Estimate, Resampling, estimate


def wilson(hits: float, count: float, confidence: float = CONFIDENCE) -> Estimate:
    """A share with Wilson's score interval (doi:10.1080/01621459.1927.10502953); nan of nothing."""
    if not count:
        return Estimate(float('nan'))
    share, z = hits / count, float(ndtri(0.5 + confidence / 2))
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return Estimate(share, max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half)))


def share(
    hit: np.ndarray, of: np.ndarray, resampling: Resampling, groups: np.ndarray | None, confidence: float = CONFIDENCE
) -> Estimate:
    """The share of the images ``of`` (N,) of True and False that are ``hit``.

    Without groups the interval is Wilson's. With groups it comes from resampled groups; for a share of 0 or 1 all
    resamplings are alike, and it is Wilson's for the number of groups with such images.
    """
    hit = hit & of
    if groups is None:
        return wilson(int(hit.sum()), int(of.sum()), confidence)
    return share_of_counts(hit, of, resampling, groups, confidence)


def share_of_counts(
    hits: np.ndarray,
    of: np.ndarray,
    resampling: Resampling,
    groups: np.ndarray | None,
    confidence: float = CONFIDENCE,
) -> Estimate:
    """The same for counts (N,), such as each image's correctly predicted labels of its known ones.

    The interval comes from resampled images or groups; for a share of 0 or 1 it is Wilson's for their number.
    """
    total = of.sum()
    value = hits.sum() / total if total else float('nan')
    if value in (0, 1):
        count = int((of > 0).sum()) if groups is None else len(np.unique(groups[of > 0]))
        return wilson(value * count, count, confidence)
    return estimate(value, resampling.mean(hits, of), confidence)
