"""Dividing samples into parts: whole groups, equal shares of every label, reproducible."""

from collections.abc import Sequence

import numpy as np

from mmdensenet.errors import UserError


def assign_parts(
    fractions: Sequence[float],
    labels: np.ndarray | None = None,
    groups: Sequence | None = None,
    count: int | None = None,
    seed: int | None = 0,
) -> np.ndarray:
    """Divide samples into parts, such as training and validation, or the folds of a cross-validation.

    Groups with the same label counts are interchangeable: of many, each part gets its share; the rest go one by one,
    the largest and rarest first, to where they bring the labels' shares nearest to the wanted ones.

    Args:
        fractions: the parts' shares; they are scaled to a sum of 1.
        labels: (N, L) of 0 and 1, to be stratified; None balances only the number of samples.
        groups: N names; a group, such as a patient, is never divided. None lets every sample be its own.
        count: N, where there are neither labels nor groups.
        seed: which of the equally good divisions; None for that of the groups' names in their order, in which
            added groups move few of the others.

    Returns:
        (N,) integers, each sample's part. It depends on the order of the samples and on ``seed`` only.

    Raises:
        UserError: if there are fewer groups than parts, or a fraction is not positive.
    """
    shares = np.asarray(fractions, dtype=float)
    if shares.ndim != 1 or not len(shares) or not (shares > 0).all():
        raise UserError(f'split fractions {list(fractions)}: give positive numbers.')
    shares = shares / shares.sum()
    size = len(labels) if labels is not None else len(groups) if groups is not None else int(count or 0)
    # the number of samples is balanced like one more label
    counted = np.ones((size, 1)) if labels is None else np.hstack([np.ones((size, 1)), np.asarray(labels, dtype=float)])
    member = np.arange(size)
    if groups is not None:
        member = np.unique(np.asarray([str(group) for group in groups]), return_inverse=True)[1].reshape(-1)
    number = int(member.max()) + 1 if size else 0
    if number < len(shares):
        what = 'groups' if groups is not None else 'samples'
        raise UserError(f'{number} {what} cannot be divided into {len(shares)} parts.')
    per_group = np.zeros((number, counted.shape[1]))
    np.add.at(per_group, member, counted)

    totals = np.maximum(per_group.sum(0), 1)
    wanted = shares[:, None] * totals
    got = np.zeros_like(wanted)
    part_of = np.empty(number, dtype=int)
    rng = None if seed is None else np.random.default_rng(seed)
    kinds, kind_of = np.unique(per_group, axis=0, return_inverse=True)
    kind_of = kind_of.reshape(-1)
    order = np.argsort(-(kinds / totals).max(1), kind='stable')  # what weighs most first
    rest = []
    for kind in order:
        alike = np.flatnonzero(kind_of == kind)
        alike = alike if rng is None else rng.permutation(alike)
        whole = np.floor(len(alike) * shares + 1e-9).astype(int)
        start = 0
        for part, take in enumerate(whole):
            part_of[alike[start : start + take]] = part
            start += take
        got += whole[:, None] * kinds[kind]
        rest.extend(alike[start:])
    for group in rest:
        lacks = (wanted - got) / totals
        # the squared distance to the wanted shares falls most where the group meets the largest lack
        gain = (lacks * per_group[group] / totals).sum(1)
        best = int(np.argmax(gain + 1e-9 * lacks[:, 0]))
        part_of[group] = best
        got[best] += per_group[group]
    return part_of[member]
