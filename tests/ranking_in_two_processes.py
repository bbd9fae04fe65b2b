"""What tests/engine/metrics/test_ranking.py runs in two processes, which have to import it."""

import torch

from mmdensenet.engine.metrics import RankingMetric

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
