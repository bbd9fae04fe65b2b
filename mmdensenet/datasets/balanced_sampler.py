"""Rare classes as often as common ones."""

import math
from collections.abc import Iterator

import numpy as np
from mmengine.dist import get_dist_info, sync_random_seed
from torch.utils.data import Sampler

from mmdensenet.errors import UserError
from mmdensenet.registry import DATA_SAMPLERS

from .wrappers import sample_labels


@DATA_SAMPLERS.register_module()
class BalancedSampler(Sampler):
    """Draw samples with replacement, so that all classes come equally often.

    With several labels a sample counts as its rarest positive one, and samples without a positive label are one more
    class. All ranks draw the same list, of which each takes every world_size-th.

    Args:
        dataset: one whose samples have labels, wrapped or not.
        num_samples: how many an epoch has over all ranks; by default as many as the data set.
        seed: the same on all ranks; by default one is drawn and shared.
    """

    def __init__(self, dataset, num_samples: int | None = None, seed: int | None = None, **_):
        self.rank, self.world_size = get_dist_info()
        self.seed = sync_random_seed() if seed is None else seed
        self.epoch = 0
        labels = [sample_labels(dataset, i) for i in range(len(dataset))]
        if not labels:
            raise UserError('BalancedSampler: the data set is empty.')
        if None in labels:
            raise UserError(f'BalancedSampler: sample {labels.index(None)} of the data set has no labels.')
        frequency = np.bincount([label for positive in labels for label in positive], minlength=1)
        # -1 stands for samples without a positive label
        kind = np.array([min(positive, key=lambda label: frequency[label]) if positive else -1 for positive in labels])
        kinds, index, counts = np.unique(kind, return_inverse=True, return_counts=True)
        self.probabilities = 1 / (counts[index.reshape(-1)] * len(kinds))
        self.total_size = len(dataset) if num_samples is None else num_samples
        self.num_samples = math.ceil(self.total_size / self.world_size)

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng([self.seed, self.epoch])
        drawn = rng.choice(len(self.probabilities), self.num_samples * self.world_size, p=self.probabilities)
        return iter(drawn[self.rank :: self.world_size].tolist())

    def __len__(self) -> int:
        """Samples of this rank."""
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """Another draw for another epoch; mmengine's runner calls it."""
        self.epoch = epoch
