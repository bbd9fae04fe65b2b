"""Repairs of mmcv."""

import cv2
import mmcv
import numpy as np
import pytest
from pixel_transforms import build, images, run, same_kind


@pytest.mark.parametrize('way', ['cv2', 'pillow'])
def test_hue_goes_round_in_both_directions(way):
    """A shift by h and one by h - 1 are the same hue; by a third, red becomes green or blue."""
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 2] = 255
    for shift, channel in ((1 / 3, 1), (-1 / 3, 0)):
        turned = mmcv.adjust_hue(red, shift, backend=way)
        assert (turned[..., channel] >= 250).all() and (np.delete(turned, channel, 2) <= 12).all(), turned[0, 0]
    for image in images('colour'):
        there, back = (mmcv.adjust_hue(image, shift, backend=way).astype(int) for shift in (0.5, -0.5))
        assert np.abs(there - back).max() <= 13  # two of 256 steps apart, of 6 each at most
        hsv = cv2.cvtColor(mmcv.adjust_hue(image, -0.2, backend=way), cv2.COLOR_BGR2HSV_FULL)
        assert np.abs(hsv[..., 2].astype(int) - cv2.cvtColor(image, cv2.COLOR_BGR2HSV_FULL)[..., 2]).max() <= 2


def test_lighting_stays_in_its_range():
    settings = dict(eigval=[55.46, 4.794, 1.148], eigvec=[[0.6, 0.7, 0.4], [0.6, 0.0, -0.8], [0.6, -0.7, 0.4]])
    lighting = build('Lighting', alphastd=0.5, to_rgb=False, **settings)
    for number, image in enumerate(images('colour')):
        out = same_kind(run(lighting, image, number), image)
        change = out.astype(int) - image
        # one shift of each channel, less where the range ends
        for c in range(3):
            free = change[..., c][(out[..., c] > 0) & (out[..., c] < 255)]
            assert not free.size or np.ptp(free) <= 1
            if free.size:
                assert (np.sign(change[..., c]) * np.sign(np.median(free)) >= 0).all()


def test_greys_stay_grey():
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    for image in (np.stack([ramp] * 3, -1), ramp, ramp[..., None]):
        out = run(build('RandomGrayscale', prob=1.0, keep_channels=True), image)
        assert (out.reshape(image.shape) == image).all()
    weighted = run(
        build('RandomGrayscale', prob=1.0, channel_weights=(1.0, 0.0, 0.0)), np.stack([ramp, ramp * 0, ramp], -1)
    )
    assert (weighted == ramp).all()
