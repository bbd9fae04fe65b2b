"""mmdensenet.training.draws: samples and their random numbers depend on seed, epoch and position only."""

import random

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from mmdensenet.training.draws import NumberedSampler, number_draws


def draw_all():
    return random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), torch.rand(1).item()


class Noise(Dataset):
    def __len__(self):
        return 10

    def __getitem__(self, index):
        assert type(index) is int
        return index, draw_all()


@pytest.mark.parametrize('workers', [0, 1, 3])
def test_an_epoch_can_begin_anywhere(workers):
    def epoch(number, start=0):
        loader = DataLoader(Noise(), batch_size=3, shuffle=False, num_workers=workers)
        sampler = number_draws(loader, seed=5, rank=0)
        assert number_draws(loader, seed=5, rank=0) is sampler and isinstance(sampler, NumberedSampler)
        sampler.epoch, sampler.start = number, start * 3
        return [[part.tolist() if hasattr(part, 'tolist') else part for part in batch] for batch in loader]

    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = epoch(0)
    assert torch.equal(torch.get_rng_state(), before), "the model's generator is left alone"
    assert str(epoch(0, 2)) == str(first[2:]) and epoch(0, 4) == []
    assert str(epoch(1)) != str(first) and str(epoch(0)) == str(first)
