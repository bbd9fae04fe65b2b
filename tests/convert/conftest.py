"""Weights of another library."""

import pytest
import torch
from foreign_models import randomise, torchvision_model


@pytest.fixture
def source(tmp_path):
    """A file of torchvision's."""
    torch.save(randomise(torchvision_model()).state_dict(), tmp_path / 'theirs.pth')
    return tmp_path / 'theirs.pth'
