"""What tests of the ranking metric and the balanced sampler run in two processes, which have to import it."""

import torch

from mmdensenet.datasets import BalancedSampler
from mmdensenet.results import RankingMetric

COUNT = 81


def samples():
    """Scores (N, 3) with ties, and targets (N, 3) of which some are unknown."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(0, 2, (COUNT, 3), generator=generator).double()
    scores = ((targets + torch.randn(COUNT, 3, generator=generator)) * 3).round().div(10).double()
    targets[torch.rand(COUNT, 3, generator=generator) < 0.2] = -1
    return scores, targets


def evaluate(rank):
    """Every second image, padded as mmengine's sampler does."""
    scores, targets = samples()
    indices = [i % COUNT for i in range(rank, COUNT + 1, 2)]
    metric = RankingMetric(bootstrap=20)
    metric.dataset_meta = dict(classes=('edema', 'mass', 'nodule'))
    metric.process(None, [dict(pred_score=scores[i], gt_score=targets[i]) for i in indices])
    return metric.evaluate(COUNT)


class Labels:
    """A data set of labels only: 90 samples of one class, 10 of the other."""

    def __len__(self):
        return 100

    def get_cat_ids(self, i):
        return [int(i >= 90)]


def draw(rank):
    """This rank's samples of two epochs, and the sampler's seed; the rank's own seed is another."""
    torch.manual_seed(rank)
    sampler = BalancedSampler(Labels(), num_samples=1000)
    epochs = []
    for epoch in range(2):
        sampler.set_epoch(epoch)
        epochs.append(list(sampler))
    return dict(epochs=epochs, seed=sampler.seed)
