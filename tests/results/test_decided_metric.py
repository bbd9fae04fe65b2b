"""mmdensenet.results.decided_metric: figures of the samples of a test, and of few labels each."""

import numpy as np
import pytest
import torch
from made_scores import single, with_logits

from mmdensenet.apis.fit.decide import decide
from mmdensenet.results.decided_metric import DecidedMetric


@pytest.mark.parametrize('classes', [3, 20, 21])
def test_figures_of_samples(classes):
    scores = with_logits(single(200, classes))
    decisions = decide(scores)
    metric = DecidedMetric(decisions)
    for score, logits, label in zip(scores.scores, scores.logits, scores.truth):
        sample = dict(pred_score=torch.tensor(score), logits=torch.tensor(logits), gt_label=torch.tensor([label]))
        metric.process(None, [sample])
    found = metric.compute_metrics(metric.results)
    decided = decisions.apply(scores.logits)
    assert found['accuracy'] == pytest.approx((decided.labels == scores.truth).mean())
    assert found['set_size'] == pytest.approx(decided.sets.sum(1).mean())
    assert ('sensitivity/class 1' in found) == (classes <= 20)
    if classes <= 20:
        assert found['sensitivity/class 1'] == pytest.approx((decided.labels == 1)[scores.truth == 1].mean())
    assert np.isfinite(list(found.values())).all()
