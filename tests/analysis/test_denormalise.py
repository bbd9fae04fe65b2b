"""mmdensenet.analysis.denormalise; with whole pipelines it is in test_augmentation.py."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mmdensenet.analysis.denormalise import is_bgr, to_pictures

READ, PACK = dict(type='LoadImageFromFile'), dict(type='PackInputs')


@pytest.mark.parametrize('bgr', [False, True])
def test_mean_and_deviation_are_undone(bgr):
    pixels = torch.randint(0, 256, (2, 3, 4, 5)).float()
    preprocessor = SimpleNamespace(mean=torch.rand(3, 1, 1) * 200, std=torch.rand(3, 1, 1) + 50)
    inputs = (pixels - preprocessor.mean) / preprocessor.std
    shown = torch.from_numpy(np.stack(to_pictures(inputs, preprocessor, bgr)))
    assert torch.equal(shown.permute(0, 3, 1, 2).float(), pixels.flip(1) if bgr else pixels)


def test_pictures_of_other_tensors():
    batch = torch.rand(1, 2, 4, 4)
    [picture] = to_pictures(batch, None)
    assert (picture == picture[..., :1]).all()
    np.testing.assert_allclose(picture[..., 0], batch.mean(1)[0] * 255, atol=0.51)
    assert to_pictures(torch.full((1, 3, 2, 2), 300.0), None)[0].max() == 255


@pytest.mark.parametrize(
    ('first', 'to_rgb', 'expected'), [(READ, False, True), (PACK, False, False), (READ, True, False)]
)
def test_colours_of_files_are_in_bgr_order_until_they_are_turned(first, to_rgb, expected):
    assert is_bgr(SimpleNamespace(to_rgb=to_rgb) if to_rgb else None, [first]) is expected
