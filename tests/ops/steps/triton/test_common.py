"""What the Triton kernels share: statistics of groups that are merged, sums of parts, and columns of a tile."""

import torch
from support.triton_kernels import DEVICE, error

from mmdensenet.ops.steps.triton import common


def test_many_groups_are_merged_in_steps():
    groups = torch.randn(700 * 3 - 1, 5, device=DEVICE) + 100
    parts = [part.double() for part in groups.split(3)]
    partial = torch.stack([torch.stack([p.mean(0), p.var(0, correction=0)]) for p in parts]).float()
    mean, variance = common.merge_statistics(partial, len(groups), 3)
    assert error(mean, groups.double().mean(0)) < 1e-6
    assert error(variance, groups.double().var(0, correction=0)) < 1e-5
    assert error(common.sum_partials(partial), partial.double().sum(0)) < 1e-6


def test_columns_as_two_powers_of_two():
    assert [common.split_columns(j) for j in (12, 48, 96, 128, 160, 192)] == [
        (16, 0),
        (32, 16),
        (64, 32),
        (128, 0),
        (128, 32),
        (128, 64),
    ]
    assert [common.split_columns(j, 64) for j in (48, 96, 160)] == [(64, 0), (128, 0), (128, 64)]
    assert all(sum(common.split_columns(j)) >= j for j in range(1, 300))
