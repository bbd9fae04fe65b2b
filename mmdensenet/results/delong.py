"""The variance of the area under the ROC curve without resampling."""

import numpy as np
from scipy.special import ndtri

from .bootstrap import CONFIDENCE, Estimate


def delong(
    score: np.ndarray, target: np.ndarray, groups: np.ndarray | None = None, confidence: float = CONFIDENCE
) -> Estimate:
    """The area under the ROC curve with a normal interval, cut at 0 and 1.

    The variance is DeLong's (Biometrics 44, 1988, 837-845), computed by midranks (doi:10.1109/LSP.2014.2337313). Images
    of a group are not independent: with groups it is that of clustered data (Obuchowski, Biometrics 53, 1997, 567-578),
    which equals DeLong's if each group has one image.

    Args:
        score, target: (N,); a target that is neither 1 nor 0 leaves its image out.
        groups: (N,) numbers.

    Returns:
        nan without positives or negatives; no interval for fewer than two groups with positives or with negatives, and
        for a variance of 0, as for an area of 1.
    """
    from scipy.stats import rankdata  # takes long to import, and most commands need no area

    known = (target == 1) | (target == 0)
    score, positive = score[known], target[known] == 1
    group = np.arange(len(score)) if groups is None else np.unique(groups[known], return_inverse=True)[1].ravel()
    m, n = int(positive.sum()), int((~positive).sum())
    if not m or not n:
        return Estimate(float('nan'))
    ranks, among = rankdata(score), np.empty(len(score))
    among[positive], among[~positive] = rankdata(score[positive]), rankdata(score[~positive])
    # the share of the other kind against which an image is ranked correctly
    right = np.where(positive, (ranks - among) / n, 1 - (ranks - among) / m)
    area = float(right[positive].mean())
    count = int(group.max()) + 1
    off = right - area
    of_positives, of_negatives = (np.bincount(group, off * kind, minlength=count) for kind in (positive, ~positive))
    with_positives, with_negatives = (np.unique(group[kind]).size for kind in (positive, ~positive))
    if min(with_positives, with_negatives) < 2:
        return Estimate(area)
    variance = (
        with_positives / (with_positives - 1) * (of_positives**2).sum() / m**2
        + with_negatives / (with_negatives - 1) * (of_negatives**2).sum() / n**2
        + 2 * count / (count - 1) * (of_positives * of_negatives).sum() / (m * n)
    )
    if variance <= 0:
        return Estimate(area)
    half = ndtri(0.5 + confidence / 2) * np.sqrt(variance)
    return Estimate(area, max(0.0, float(area - half)), min(1.0, float(area + half)))
