"""The pixels that timm tests with, on which its published accuracies stand."""

import numpy as np
import pytest
import torch
from conftest import CONFIGS
from mmengine.config import Config
from mmengine.dataset import Compose
from mmpretrain.registry import MODELS, TRANSFORMS
from PIL import Image


@pytest.mark.parametrize(
    ('name', 'side', 'crop'),
    [
        ('densenet121-bicubic_4xb256_in1k', 224, 0.875),
        ('densenetblur121d_4xb256_in1k', 224, 0.875),
        ('densenet121-288_4xb256_in1k', 288, 0.95),
        ('densenetblur121d-288_4xb256_in1k', 288, 0.95),
        ('rdnet-tiny_8xb64_in1k', 224, 0.9),
        ('rdnet-large-384_8xb64_in1k', 384, 1.0),
        ('densenet121_4xb512-a3-100e_in1k', 224, 0.95),
    ],
)
def test_pixels_are_timms(name, side, crop, tmp_path):
    timm_data = pytest.importorskip('timm.data', reason='timm is not installed (requirements/peers.txt)')
    theirs = timm_data.create_transform((3, side, side), is_training=False, interpolation='bicubic', crop_pct=crop)
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    ours = Compose([TRANSFORMS.build(step) for step in cfg.test_dataloader.dataset.pipeline])
    normalise = MODELS.build(dict(cfg.data_preprocessor, type='ClsDataPreprocessor'))
    rng = np.random.default_rng(0)
    for i, size in enumerate([(375, 500), (401, 333)]):
        file = tmp_path / f'{i}.png'
        Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(file)
        images = ours(dict(img_path=str(file)))['inputs'][None]
        expected = theirs(Image.open(file))
        torch.testing.assert_close(normalise(dict(inputs=images))['inputs'][0], expected, rtol=0, atol=1e-5)
