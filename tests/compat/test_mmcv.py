"""Repairs of mmcv."""

import importlib.util
import sys
import warnings

import cv2
import mmcv
import numpy as np
import pytest
from pixel_transforms import build, images, run, same_kind

from mmdensenet.compat.mmcv import _QuietFinder, _QuietLoader


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


TRANSFORMER = 'mmcv.cnn.bricks.transformer'


def test_one_warning_is_left_out_while_one_module_runs(tmp_path):
    """As when mmcv-lite is imported; another warning of the module is shown, and the filters are as before."""
    file = tmp_path / 'transformer.py'
    texts = ['Fail to import ``MultiScaleDeformableAttention`` from ``mmcv.ops``', 'something else']
    file.write_text('import warnings\n' + ''.join(f'warnings.warn({text!r})\n' for text in texts))
    spec = importlib.util.spec_from_file_location(TRANSFORMER, file, loader=_QuietLoader(TRANSFORMER, str(file)))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        before = list(warnings.filters)
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
        assert warnings.filters == before
    assert [str(warning.message) for warning in caught] == texts[1:]


def test_that_module_is_found_as_before(monkeypatch):
    """By the other finders, whose own loaders stay; other modules are theirs alone."""
    plain = importlib.util.find_spec('mmcv.cnn.bricks.drop')
    assert type(plain.loader) is not _QuietLoader and _QuietFinder().find_spec('mmcv.cnn.bricks.drop') is None
    found = _QuietFinder().find_spec(TRANSFORMER, mmcv.cnn.bricks.__path__)
    assert type(found.loader) is _QuietLoader and found.origin == plain.origin.replace('drop.py', 'transformer.py')

    class Own:
        def find_spec(self, name, path=None, target=None):
            return importlib.util.spec_from_loader(name, self, origin='elsewhere')

        def create_module(self, spec):
            return None

        def exec_module(self, module):
            pass

    monkeypatch.setattr(sys, 'meta_path', [_QuietFinder(), Own()])
    assert type(sys.meta_path[0].find_spec(TRANSFORMER, []).loader) is Own
    monkeypatch.setattr(sys, 'meta_path', [_QuietFinder()])
    assert sys.meta_path[0].find_spec(TRANSFORMER, []) is None
