"""The model inside wrappers, and the optimizers of a runner."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmpretrain.models import AverageClsScoreTTA
from torch import nn

from mmdensenet.model_wrappers import optim_wrappers, unwrapped


@pytest.fixture
def model():
    model = nn.Module()
    model.backbone = nn.Identity()
    model.test_step = None
    return model


def test_wrappers_of_processes_and_of_test_time_augmentation(model):
    for wrapped in (
        model,
        AverageClsScoreTTA(model),
        nn.DataParallel(model),
        nn.DataParallel(AverageClsScoreTTA(model)),
    ):
        assert unwrapped(wrapped) is model


def test_a_backbone_alone_and_a_model_of_other_parts():
    detector = nn.Module()
    detector.module = nn.Identity()
    detector.backbone = nn.Identity()
    for model in (nn.Identity(), detector):
        assert unwrapped(model) is model


def test_the_optimizers_of_a_runner():
    one, other = (OptimWrapper(torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1)) for _ in range(2))
    assert optim_wrappers(SimpleNamespace(optim_wrapper=one)) == [one]
    assert optim_wrappers(SimpleNamespace(optim_wrapper=OptimWrapperDict(a=one, b=other))) == [one, other]
