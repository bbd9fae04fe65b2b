"""A small classifier with ImageNet's preprocessing."""

import pytest
import torch
from conftest import ROOT
from fastapi.testclient import TestClient
from foreign_models import randomise

import mmdensenet
from mmdensenet.apis import open_inferencer
from mmdensenet.serving import Predictor, Settings, create_app

CONFIG = """_base_ = {base!r}
model = dict(
    backbone=dict(arch=dict(_delete_=True, growth_rate=4, depths=(2, 2), init_channels=8)),
    head=dict(in_channels=16, num_classes=4, topk=(1,)),
)
data_preprocessor = dict(num_classes=4)
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=72, edge='short', backend='pillow'),
    dict(type='CenterCrop', crop_size=64),
    dict(type='PackInputs'),
]
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
"""


@pytest.fixture(scope='session')
def model_files(tmp_path_factory):
    """(config, checkpoint); one class has a name that a page must not take for markup."""
    folder = tmp_path_factory.mktemp('served')
    config = folder / 'tiny.py'
    config.write_text(CONFIG.format(base=str(ROOT / 'configs/densenet121_4xb256_in1k.py')))
    model = randomise(mmdensenet.get_model(str(config)))
    meta = dict(dataset_meta=dict(classes=('cat', 'dog', 'emu', '<img src=x onerror=alert(1)>')))
    torch.save(dict(meta=meta, state_dict=model.state_dict()), folder / 'w.pth')
    return config, folder / 'w.pth'


@pytest.fixture(scope='session')
def inferencer(model_files):
    config, checkpoint = model_files
    return open_inferencer(str(config), str(checkpoint))


@pytest.fixture
def predictor(inferencer):
    return Predictor(inferencer)


@pytest.fixture
def open_client(predictor):
    """``open_client(predictor, **settings)`` is a client of a server of its own."""
    opened = []

    def start(the_predictor=predictor, **settings):
        app = create_app(the_predictor, Settings(**settings))
        client = TestClient(app, 'http://127.0.0.1:8000', raise_server_exceptions=False)
        opened.append(client.__enter__())
        return client

    yield start
    for client in opened:
        client.__exit__(None, None, None)
