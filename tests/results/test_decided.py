"""Decisions that a checkpoint carries, applied to samples and to single images."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from made_scores import several, single, with_logits
from mmpretrain.models.heads import LinearClsHead, MultiLabelLinearClsHead
from mmpretrain.structures import DataSample
from torch import nn

from mmdensenet.apis.fit.decide import decide
from mmdensenet.checkpoints.checkpoint_meta import DECISIONS, hash_weights
from mmdensenet.errors import UserError
from mmdensenet.results.decided import (
    decide_samples,
    decided_result,
    keeping_logits,
    note_decisions,
    plain_decision,
    read_decisions,
)

SCORES = {'classes': with_logits(single(200, 3)), 'labels': with_logits(several(200, 3, unknown=0))}


def samples_of(logits) -> list[DataSample]:
    samples = [DataSample() for _ in logits]
    for sample, row in zip(samples, logits):
        sample.set_field(torch.tensor(row), 'logits')
    return samples


@pytest.mark.parametrize('kind', SCORES)
def test_samples_and_results_have_what_is_decided(kind):
    scores = SCORES[kind]
    decisions = decide(scores, operating_point='f1' if kind == 'labels' else None)
    decided = decisions.apply(scores.logits[:20])
    samples = samples_of(scores.logits[:20])
    note_decisions(decisions, samples)
    for i, sample in enumerate(samples):
        positive = np.flatnonzero(decided.positive[i]).tolist()
        label = positive if kind == 'labels' else positive[0]
        assert sample.decided_label == label
        assert (sample.ood, sample.ood_score) == (decided.ood[i], decided.ood_scores[i])
        assert sample.calibrated_score.numpy() == pytest.approx(decided.probabilities[i])
        assert sample.conformal_set == np.flatnonzero(decided.sets[i]).tolist()
        result = decided_result(decisions, scores.logits[i], 'abc')
        assert result['pred_label'] == label and result['pred_scores'] == pytest.approx(decided.probabilities[i])
        assert result['pred_score'] == pytest.approx(decided.probabilities[i][label])
        assert result['pred_class'] == (['abc'[k] for k in label] if kind == 'labels' else 'abc'[label])
        plain = plain_decision(result, 'abc')
        assert plain == {
            'label': label,
            'class': result['pred_class'],
            'conformal_set': ['abc'[k] for k in sample.conformal_set],
            'ood': sample.ood,
            'ood_score': sample.ood_score,
        }
        nameless = plain_decision(decided_result(decisions, scores.logits[i], None), None)
        del plain['class']
        assert nameless == plain | {'conformal_set': sample.conformal_set}
        assert 'undecided_label' not in sample
    if kind == 'labels':
        points = (None, *decisions.points[1:])
        [sample] = samples_of(scores.logits[:1])
        note_decisions(replace(decisions, points=points), [sample])
        assert sample.undecided_label == [0] and 0 not in sample.decided_label
    with pytest.raises(UserError, match='finite'):
        note_decisions(decisions, samples_of(np.full((1, 3), np.nan)))


def test_samples_that_are_not_finite_stay():
    decisions = decide(SCORES['classes'])
    samples = samples_of(np.vstack([SCORES['classes'].logits[:1], np.full((1, 3), np.inf)]))
    first, second = decide_samples(decisions, samples)
    expected = decisions.apply(SCORES['classes'].logits[:1])
    assert first.pred_label.tolist() == expected.labels.tolist()
    assert first.pred_score.numpy() == pytest.approx(expected.probabilities[0])
    assert 'pred_label' not in second


def test_logits_are_kept_inside_only():
    head = LinearClsHead(num_classes=3, in_channels=2)
    features = (torch.randn(4, 2),)
    seen = []
    with keeping_logits(head, seen.extend):
        samples = head.predict(features)
    expected = head(features).detach()
    assert seen == samples and torch.equal(torch.stack([sample.logits for sample in samples]), expected)
    torch.testing.assert_close(torch.stack([sample.pred_score for sample in samples]), expected.softmax(1))
    assert 'logits' not in head.predict(features)[0]
    with pytest.raises(UserError, match='Linear has no logits'), keeping_logits(nn.Linear(1, 1)):
        pass


def test_decisions_are_of_one_model():
    scores = SCORES['classes']
    model = nn.Module()
    model.head = LinearClsHead(num_classes=3, in_channels=2)
    decisions = decide(scores, weights=hash_weights(model.state_dict()))
    meta = {DECISIONS: decisions.to_dict()}
    assert read_decisions(meta, model, 'w.pth') == decisions
    assert read_decisions({}, model, 'w.pth') is read_decisions(None, model, 'w.pth') is None
    other = SimpleNamespace(head=LinearClsHead(num_classes=4, in_channels=2))
    several_labels = SimpleNamespace(head=MultiLabelLinearClsHead(num_classes=3, in_channels=2))
    for wrong in (other, several_labels):
        with pytest.raises(UserError, match=r'w\.pth: its decisions are for 3 classes, one per image, and the model'):
            read_decisions(meta, wrong, 'w.pth')
    names = ['class 0', 'class 2', 'class 1']
    for found in (dict(dataset_meta=dict(classes=names)), dict(CLASSES=names)):
        with pytest.raises(
            UserError, match=r"w\.pth: .* other classes, 'class 1' in the place of 'class 2' \(number 1\)"
        ):
            read_decisions(meta | found, model, 'w.pth')
    for names in (decisions.classes, ['0', '1', '2'], None):  # numbers stand for names that nobody knew
        assert read_decisions(meta | dict(dataset_meta=dict(classes=names)), model, 'w.pth') == decisions
    model.head.fc.bias.data[0] += 1
    with pytest.raises(UserError, match=r'w\.pth: .* were made for other weights'):
        read_decisions(meta, model, 'w.pth')
