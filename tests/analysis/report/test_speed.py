"""The speed of a classifier: the measured steps, and the statistics of their times."""

import pytest
import torch
from torch import nn

from mmdensenet.analysis.report import speed


def test_quartiles_of_the_steps(monkeypatch):
    """A clock by which the steps after the two first ones take 1, 2 and so on seconds; five are enough."""
    seen = []

    class Model(nn.Linear):
        def forward(self, x):
            seen.append(x.shape)
            return super().forward(x)

    ticks = iter([0, 9, 0, 9, *(tick for step in (1, 2, 3, 4, 5) for tick in (0, step)), 0, 9])
    monkeypatch.setattr(speed.time, 'perf_counter', lambda: next(ticks))
    found = speed.measure_speed(Model(4, 2), (3, 5, 4), 7)
    assert (found.low, found.median, found.high, found.steps) == (2, 3, 4, 5)
    assert found.batch == 7 and found.images_per_second == pytest.approx(7 / 3)
    assert seen == [(7, 3, 5, 4)] * 8, 'two before, and one for the memory'


def test_no_more_steps_than_wanted(monkeypatch):
    monkeypatch.setattr(speed.time, 'perf_counter', lambda: 0.0)
    monkeypatch.setattr(speed, '_peak', lambda step, device: 5)
    found = speed.measure_speed(nn.Linear(2, 2), (1, 1, 2), 1)
    assert (found.steps, found.peak) == (speed.MOST, 5)


def test_the_device_has_a_name_and_its_threads():
    assert speed.describe_device(torch.device('cpu')).endswith(', 1 thread')
