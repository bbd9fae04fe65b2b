"""mmdensenet.training.random_state: all generators are saved, restored and seeded."""

import random

import numpy as np
import pytest
import torch

from mmdensenet.errors import UserError
from mmdensenet.training.random_state import get_random_state, seed_everything, set_random_state, unchanged_random_state


def draw_all():
    return random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), torch.rand(1).item()


def test_random_state_is_restored():
    random.gauss(0, 1)  # the other of a pair is kept
    np.random.randn()
    state = get_random_state()
    expected = draw_all()
    set_random_state(state)
    assert draw_all() == expected
    with unchanged_random_state():
        seed_everything(1, 2, 3)
        inner = draw_all()
    after = draw_all()
    set_random_state(state)
    draw_all()
    assert draw_all() == after
    seed_everything(1, 2, 3)
    assert draw_all() == inner
    seed_everything(1, 2, 4)
    assert draw_all() != inner


def test_an_invalid_state_is_refused():
    python = dict(version=3, words=torch.zeros(3), gauss=None)
    for state in ({}, dict(python=1), dict(python=python, numpy={}, torch=torch.zeros(2))):
        with pytest.raises(UserError, match="random state is not one of mmdensenet's"):
            set_random_state(state)
