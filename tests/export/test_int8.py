"""Norms as clamps of the stored levels."""

import numpy as np
import pytest

from mmdensenet.export.int8 import clamped


def test_levels_by_hand():
    """relu(2 q - 10): 5 stands for 0; relu(-q + 7.4): 7, of which 0.4 is taken off where it is 0, in half of all."""
    factor, shift = np.array([2, -1, 1.0]), np.array([-10, 7.4, -300.0])
    low, high, scale, offset = clamped(factor, shift, np.array([0, 0.5, 1]))
    assert low.tolist() == [5, 0, 255] and high.tolist() == [255, 7, 255]
    assert scale.tolist() == [2, -1, 0] and offset == pytest.approx([5, 7.4 - 0.2, 255])
