"""Fixtures of the Triton kernels' tests."""

import pytest
import torch


@pytest.fixture(autouse=True)
def exact_float32():
    torch.manual_seed(0)
    flags = torch.backends.cudnn, torch.backends.cuda.matmul
    before = [flag.allow_tf32 for flag in flags]
    for flag in flags:
        flag.allow_tf32 = False
    yield
    for flag, value in zip(flags, before):
        flag.allow_tf32 = value
