"""Fixtures of the Triton kernels' tests."""

import pytest


@pytest.fixture(autouse=True)
def exactly(exact_float32):
    """All tests here are in float32 as it is."""
