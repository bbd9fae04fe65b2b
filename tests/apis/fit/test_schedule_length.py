"""How long to train, for the images, the minutes and the speed."""

import pytest

from mmdensenet.apis.fit.schedule_length import training_length


def test_length_follows_images_and_minutes():
    free = training_length(420, 60, 0.01, False, None)
    assert (free.epochs, free.val_interval) == (40, 2)
    assert free.expected == pytest.approx(0.01 * (40 * 420 + 20 * 60 / 3))
    short = training_length(420, 60, 0.01, False, 1)
    assert short.epochs == 10
    assert short.expected <= 45
    assert training_length(100_000, 9, 0.01, True, 1).epochs == 1
