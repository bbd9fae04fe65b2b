"""The model inside wrappers."""

import pytest
from mmpretrain.models import AverageClsScoreTTA
from torch import nn

from mmdensenet.model_wrappers import unwrapped


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
