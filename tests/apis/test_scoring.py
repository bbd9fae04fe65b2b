"""Scores of a part of the data."""

import json

import numpy as np
import pytest

from mmdensenet.apis import test_model
from mmdensenet.apis.report import make_report
from mmdensenet.errors import UserError
from mmdensenet.results.decisions import AUGMENTED
from mmdensenet.results.scores import read_scores


def test_predictions_of_a_test(decided, tmp_path):
    config, checkpoint, decisions = decided
    metrics = test_model(config, checkpoint, work_dir=str(tmp_path), out=str(tmp_path / 'p.npz'))
    found = dict(np.load(tmp_path / 'p.npz'))
    wanted = decisions.apply(found['logits'])
    assert np.array_equal(found['calibrated_score'], wanted.probabilities)
    assert np.array_equal(found['decided_label'], wanted.labels) and np.array_equal(found['ood'], wanted.ood)
    assert [json.loads(row) for row in found['conformal_set']] == [np.flatnonzero(row).tolist() for row in wanted.sets]
    accuracy = 100 * (found['pred_label'] == found['gt_label']).mean()
    assert metrics['accuracy/top1'] == pytest.approx(accuracy, abs=1e-3), 'of the scores as they are'
    truth = found['gt_label']
    assert metrics['decided/accuracy'] == pytest.approx((wanted.labels == truth).mean())
    assert metrics['decided/coverage'] == pytest.approx(wanted.sets[np.arange(250), truth].mean())
    assert metrics['decided/sensitivity/7'] == pytest.approx((wanted.labels == truth)[truth == 7].mean())
    assert metrics['decided/log_loss'] < metrics['decided/log_loss_uncalibrated']


def test_augmented_scores_are_uncalibrated(decided, tmp_path):
    """The decisions were fitted on images as they are."""
    config, checkpoint, decisions = decided
    file = str(tmp_path / 'p.npz')
    metrics = test_model(config, checkpoint, work_dir=str(tmp_path), out=file, tta=True)
    assert not any(name.startswith('decided/') for name in metrics)
    found = np.load(file)
    assert found['tta'].all() and 'calibrated_score' not in found
    scores = read_scores(file, False)
    assert scores.augmented and scores.take([0]).augmented
    with pytest.raises(UserError, match='means over test-time augmentations'):
        decisions.apply_to(scores)
    make_report(config, checkpoint, tmp_path / 'r.html', predictions=file, measure=False, gallery=0, bootstrap=0)
    page = (tmp_path / 'r.html').read_text()
    assert AUGMENTED in page and 'Scores are calibrated' not in page and 'decision curve' not in page
