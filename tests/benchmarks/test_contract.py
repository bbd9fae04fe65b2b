"""The cost of asking is that of the whole question, and answers are those of the pass."""

import torch

from benchmarks import contract
from mmdensenet import ops
from mmdensenet.models import DenseNet


def test_answered_plans_give_the_same_features():
    model = DenseNet(arch=dict(growth_rate=4, depths=(2, 2), init_channels=8)).eval()
    x = torch.randn(1, 3, 32, 32)
    plan_stage = ops.plan_stage
    with torch.inference_mode():
        (want,) = model(x)
        with contract.answered(lambda: model(x)):
            assert ops.plan_stage is not plan_stage
            for _ in range(2):
                (got,) = model(x)
                assert torch.equal(got, want)
    assert ops.plan_stage is plan_stage


def test_a_model_takes_turns_with_itself(monkeypatch):
    monkeypatch.setitem(
        contract.MODELS,
        'densenet-bc-40-12',
        (dict(arch=dict(growth_rate=4, depths=(1,), init_channels=8), stem='cifar'), 8),
    )
    ours, others = contract.with_itself('densenet-bc-40-12', rounds=2, passes=1)
    assert len(ours) == len(others) == 2 and min(*ours, *others) > 0
