"""A classifier with ImageNet's pipeline, and images to predict."""

import numpy as np
import pytest
import torch
from decided_digits import make_digits
from foreign_models import randomise
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
    file = tmp_path / 'tiny.py'
    file.write_text(f"""_base_ = 'mmdensenet::densenet121_4xb256_in1k.py'
model = dict(
    backbone=dict(arch=dict(_delete_=True, growth_rate=4, depths=(2, 2), init_channels=8)),
    head=dict(in_channels=16, num_classes=3, topk=(1,)),
)
data_preprocessor = dict(num_classes=3)
names = dict(classes=('cat', 'dog', 'emu'))
data = dict(_delete_=True, type='CustomDataset', data_root={str(images)!r}, metainfo=names)
train_dataloader = dict(batch_size=4, num_workers=0, dataset=dict(data, pipeline=_base_.train_pipeline))
val_dataloader = dict(batch_size=4, num_workers=0, dataset=dict(data, pipeline=_base_.test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(topk=(1,))
test_evaluator = val_evaluator
del data, names
""")
    return file


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
