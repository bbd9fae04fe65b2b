"""A classifier with ImageNet's pipeline, and images to predict."""

import numpy as np
import pytest
import torch
from decided_digits import make_digits
from foreign_models import randomise
from imagenet_config import write_imagenet_config
from PIL import Image

import mmdensenet
from mmdensenet.apis.decide_checkpoint import decide_checkpoint


@pytest.fixture
def images(tmp_path):
    """Three classes with two reddish images each, of several sizes."""
    rng = np.random.default_rng(0)
    for label in range(3):
        folder = tmp_path / 'images' / f'class_{label}'
        folder.mkdir(parents=True)
        for size in (40, 56):
            pixels = rng.integers(0, 80, (6, 6, 3)) + np.array([170, 90, 0])
            Image.fromarray(pixels.astype(np.uint8)).resize((size, size + 8)).save(folder / f'{size}.jpg', quality=95)
    return tmp_path / 'images'


@pytest.fixture
def config(tmp_path, images):
    """A small classifier with ImageNet's pipeline: resize, crop, BGR to RGB."""
    return write_imagenet_config(tmp_path / 'tiny.py', images, ('cat', 'dog', 'emu'))


@pytest.fixture
def checkpoint(tmp_path, config):
    model = randomise(mmdensenet.get_model(str(config)))
    meta = dict(dataset_meta=dict(classes=('cat', 'dog', 'emu')), cfg=f"open({str(tmp_path / 'RAN')!r}, 'w')")
    torch.save(dict(meta=meta, state_dict=model.state_dict()), tmp_path / 'w.pth')
    return tmp_path / 'w.pth'


@pytest.fixture(scope='session')
def plain(tmp_path_factory):
    """(config, checkpoint) without decisions."""
    return make_digits(tmp_path_factory.mktemp('plain'))


@pytest.fixture(scope='session')
def decided(plain, tmp_path_factory):
    """(config, checkpoint, decisions): the same with decisions."""
    out = tmp_path_factory.mktemp('decided') / 'w.pth'
    return plain[0], str(out), decide_checkpoint(*plain, out)
