"""While a checkpoint is tested its decisions are added to the samples; afterwards nothing is left."""

import logging
from types import SimpleNamespace

import pytest
import torch
from made_scores import single, with_logits
from mmpretrain.models.heads import LinearClsHead
from torch import nn

from mmdensenet.apis.fit.decide import decide
from mmdensenet.checkpoints.checkpoint_meta import DECISIONS, hash_weights
from mmdensenet.results.decided_metric import DecidedMetric
from mmdensenet.results.decisions import OTHERS, UNCALIBRATED
from mmdensenet.training.hooks.decisions_hook import DecisionsHook

FEATURES = (torch.randn(2, 2),)


@pytest.fixture
def runner():
    model = nn.Module()
    model.head = LinearClsHead(num_classes=3, in_channels=2)
    return SimpleNamespace(
        model=model, test_evaluator=SimpleNamespace(metrics=[]), logger=logging.getLogger('decisions of a test')
    )


def test_decisions_of_the_checkpoint(runner, caplog):
    caplog.set_level('INFO')
    decisions = decide(with_logits(single(200, 3)), weights=hash_weights(runner.model.state_dict()))
    hook = DecisionsHook()
    hook.after_load_checkpoint(runner, dict(meta={DECISIONS: decisions.to_dict()}))
    hook.before_test(runner)
    assert [type(metric) for metric in runner.test_evaluator.metrics] == [DecidedMetric]
    assert caplog.messages == decisions.lines()
    [sample, _] = runner.model.head.predict(FEATURES)
    logits = runner.model.head(FEATURES).detach().double().numpy()
    assert sample.decided_label == decisions.apply(logits).labels[0]
    hook.after_test(runner)
    assert 'decided_label' not in runner.model.head.predict(FEATURES)[0]
    hook.before_test(runner)
    assert caplog.messages[-1] == OTHERS, 'it has another metric now'
    hook.after_test(runner)


@pytest.mark.parametrize('logits', [False, True])
def test_a_checkpoint_without_decisions(runner, logits, caplog):
    caplog.set_level('INFO')
    hook = DecisionsHook(logits=logits)
    hook.after_load_checkpoint(runner, dict(meta={}))
    hook.before_test(runner)
    assert runner.test_evaluator.metrics == [] and caplog.messages == [UNCALIBRATED]
    sample = runner.model.head.predict(FEATURES)[0]
    assert ('logits' in sample) == logits and 'decided_label' not in sample
    hook.after_test(runner)
