"""Small data and weights for the tools."""

import pytest
import torch
from conftest import CONFIGS, DIGITS, write_images
from mmengine.config import Config


@pytest.fixture(scope='session')
def digits_checkpoint(tmp_path_factory):
    """A checkpoint of the digits model with random weights."""
    from mmpretrain.registry import MODELS

    model = MODELS.build(Config.fromfile(DIGITS).model)
    file = tmp_path_factory.mktemp('checkpoint') / 'digits.pth'
    torch.save(dict(meta={}, state_dict=model.state_dict()), file)
    return file


@pytest.fixture
def folder_config(tmp_path):
    """Write a config of a small model for colour images of three classes, whose head has ``head`` classes."""

    def write(head=3):
        data = write_images(tmp_path / 'data', size=32)
        config = tmp_path / 'folder.py'
        config.write_text(f"""_base_ = {str(CONFIGS / 'densenet-bc-l40-k12_1xb64_cifar10-folder.py')!r}
model = dict(
    backbone=dict(arch=dict(growth_rate=4, depths=(1, 1), init_channels=8)),
    head=dict(in_channels=10, num_classes={head}))
loader = dict(batch_size=4, num_workers=0, dataset=dict(type='CustomDataset', data_root={str(data)!r}, data_prefix=''))
train_dataloader = loader
val_dataloader = loader
test_dataloader = loader
train_cfg = dict(max_epochs=1)
default_hooks = dict(logger=dict(interval=1))
""")
        return config

    return write
