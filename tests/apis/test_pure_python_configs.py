"""Pure-Python configs: classes as types, no default scope, functions, and imports of the standard library."""

import numpy as np
import pytest
from conftest import write_images
from mmengine.config import Config

import mmdensenet
from mmdensenet.apis import export_model, load_config, test_model, train_model
from mmdensenet.apis.report import make_report
from mmdensenet.apis.verify import verify_dataset
from mmdensenet.apis.visualize import draw_cam, draw_confusion, draw_data, draw_schedule
from mmdensenet.errors import UserError
from mmdensenet.export.metadata import plain_steps

CONFIG = """
import json
import math
import os
import os.path as osp
import re
from pathlib import Path

from mmengine.dataset import DefaultSampler
from mmengine.hooks import CheckpointHook, LoggerHook
from mmengine.optim import MultiStepLR, OptimWrapper
from mmpretrain.datasets import CustomDataset, LoadImageFromFile, PackInputs, ResizeEdge
from mmpretrain.evaluation import Accuracy
from mmpretrain.models import ClsDataPreprocessor, CrossEntropyLoss, GlobalAveragePooling
from mmpretrain.models import ImageClassifier, LinearClsHead
from mmengine.visualization import LocalVisBackend
from torch.optim import SGD

from mmdensenet.models import DenseNet

default_scope = None
env = dict(home=os.environ.get('HOME'))
root = osp.join({folder!r}, 'images')
def half(x):
    return x // 2


width = half(4)
classes = json.loads('3')
name = re.sub('x', 'y', 'x')
model = dict(
    type=ImageClassifier,
    data_preprocessor=dict(type=ClsDataPreprocessor, num_classes=classes, mean=[100.0] * 3, std=[60.0] * 3),
    backbone=dict(type=DenseNet, arch=dict(growth_rate=4, depths=[1, 2], init_channels=8), stem='cifar'),
    neck=dict(type=GlobalAveragePooling),
    head=dict(type=LinearClsHead, num_classes=classes, in_channels=14, loss=dict(type=CrossEntropyLoss), topk=(1,)),
)
pipeline = [dict(type=LoadImageFromFile), dict(type=PackInputs)]
loader = dict(batch_size=4, num_workers=0, dataset=dict(type=CustomDataset, data_root=root, pipeline=pipeline))
train_dataloader = dict(**loader, sampler=dict(type=DefaultSampler, shuffle=True))
val_dataloader = dict(**loader, sampler=dict(type=DefaultSampler, shuffle=False))
test_dataloader = val_dataloader
val_evaluator = dict(type=Accuracy, topk=(1,))
test_evaluator = val_evaluator
train_cfg = dict(by_epoch=True, max_epochs=1)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(type=OptimWrapper, optimizer=dict(type=SGD, lr=0.01))
param_scheduler = dict(type=MultiStepLR, milestones=[1])
"""


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp('pure')
    write_images(folder / 'images')
    file = folder / 'pure.py'
    file.write_text(CONFIG.format(folder=str(folder)))
    return file


def test_it_is_read_without_modules_and_functions(config):
    cfg = Config.fromfile(config)
    assert cfg.root == str(config.parent / 'images') and cfg.classes == 3 and cfg.width == 2
    assert not {'json', 'os', 'osp', 're', 'math', 'half'} & set(cfg)
    assert cfg.model.type.__name__ == 'ImageClassifier'
    other = config.with_name('other.py')
    other.write_text(
        'from mmengine.config import read_base\n\nwith read_base():\n    from .pure import *\n\nwidth = half(20)\n'
    )
    assert Config.fromfile(other).width == 10, 'what inherits may call the functions'


@pytest.mark.slow
def test_what_is_here_takes_it(config, tmp_path):
    """default_scope = None, so that names alone are not found: the tools add entries by name, and look at names."""
    config, images = str(config), str(config.parent / 'images')
    train_model(config, work_dir=str(tmp_path / 'w'))
    checkpoint = str(tmp_path / 'w/epoch_1.pth')
    out = tmp_path / 'p.npz'
    metrics = test_model(config, checkpoint, work_dir=str(tmp_path / 't'), out=str(out), show_dir=str(tmp_path / 's'))
    scores = np.load(out)['pred_score']
    assert metrics['accuracy/top1'] == pytest.approx(100 * (scores.argmax(1) == np.load(out)['gt_label']).mean())
    results = mmdensenet.inference(mmdensenet.get_model(config, checkpoint), images)
    assert np.allclose([result['pred_scores'] for result in results], scores, atol=1e-6)
    done = export_model(config, checkpoint, tmp_path / 'm.onnx')
    assert done.agreement == 1 and [step['type'] for step in done.metadata.pipeline] == [
        'LoadImageFromFile',
        'PackInputs',
    ]
    test_model(config, checkpoint, work_dir=str(tmp_path / 't'), tta=True)
    make_report(config, checkpoint, tmp_path / 'r.html', bootstrap=10, measure=False)
    draw_cam(config, checkpoint, [f'{images}/class_0/0.jpg'], tmp_path / 'c.png')
    draw_confusion(config, predictions=str(out), out=tmp_path / 'f.png')
    draw_data(config, tmp_path / 'd.png')
    draw_schedule(config, tmp_path / 'l.png')
    assert set(verify_dataset(config, workers=0).images.values()) == {12}
    assert len(list(tmp_path.glob('*.png'))) == 4 and len(list((tmp_path / 's').iterdir())) == 12


def test_a_loaded_config_is_taken_too(config):
    model = mmdensenet.get_model(Config.fromfile(config))
    assert model._dataset_meta == {'classes': None} and plain_steps(model._config.test_dataloader.dataset.pipeline)


@pytest.mark.parametrize(
    ('right', 'wrong', 'message'),
    [
        ('import SGD', 'import SDG as SGD', 'Failed to import SDG from torch.optim in .*pure.py, line'),
        (
            'CustomDataset, Load',
            'CustomDataSet as CustomDataset, Load',
            'Failed to import CustomDataSet from mmpretrain',
        ),
        ('mmpretrain.evaluation', 'mmpretrain.evaluations', 'Failed to import mmpretrain.evaluations'),
    ],
)
def test_a_name_that_cannot_be_imported(config, tmp_path, right, wrong, message):
    """mmengine imports when a value is asked for, which may be anywhere."""
    file = tmp_path / 'pure.py'
    file.write_text(config.read_text().replace(right, wrong))
    with pytest.raises(UserError, match=f'pure.py cannot be read: (Import|ModuleNotFound)Error: {message}'):
        load_config(str(file))
