import os

import pytest
import torch
from mmcv.transforms import LoadImageFromFile
from mmengine.config import Config

from mmdensenet.apis.config_data import complete_dataloaders, name_bad_images, require_data
from mmdensenet.apis.inference import pipeline_of
from mmdensenet.errors import UserError


def test_dataloaders_fit_the_machine():
    cfg = Config(
        dict(train_dataloader=dict(num_workers=10_000), val_dataloader=dict(num_workers=0), test_dataloader=None)
    )
    complete_dataloaders(cfg)
    assert cfg.train_dataloader.num_workers == len(os.sched_getaffinity(0))
    assert cfg.train_dataloader.persistent_workers and not cfg.val_dataloader.persistent_workers
    assert cfg.train_dataloader.pin_memory == torch.cuda.is_available()
    complete_dataloaders(cfg, persistent_workers=False)
    assert not cfg.train_dataloader.persistent_workers


@pytest.mark.parametrize(
    ('dataset', 'key'),
    [
        (dict(type='CustomDataset', data_root='/no/such/place'), 'dataset.data_root: /no/such/place'),
        (dict(type='ImageNet', data_root='/', split='nosuch'), 'dataset.split: /nosuch'),
        (dict(type='CustomDataset', data_prefix='/no/such'), 'dataset.data_prefix: /no/such'),
        (
            dict(type='RepeatDataset', dataset=dict(type='CustomDataset', ann_file='/no/list.txt')),
            'dataset.dataset.ann_file',
        ),
        (dict(type='ConcatDataset', datasets=[dict(type='X', data_root='/no')]), 'dataset.datasets.0.data_root'),
    ],
)
def test_missing_data(dataset, key):
    with pytest.raises(UserError, match=f'train_dataloader.{key}.*does not exist'):
        require_data(Config(dict(train_dataloader=dict(dataset=dataset))), 'train_dataloader')


def test_present_or_downloadable_data(image_folder):
    for dataset in (
        dict(type='CustomDataset', data_root=str(image_folder)),
        dict(type='CIFAR10', data_root='/no/such/place'),
        dict(type='CustomDataset', data_root='s3://bucket/x'),
    ):
        require_data(Config(dict(train_dataloader=dict(dataset=dataset))), 'train_dataloader')


class OwnLoader(LoadImageFromFile):
    pass


@pytest.mark.parametrize(
    ('kind', 'replaced'),
    [
        ('LoadImageFromFile', True),
        ('mmcv.LoadImageFromFile', True),
        ('mmpretrain.LoadImageFromFile', True),
        ('mmcv.transforms.LoadImageFromFile', True),
        ('mmcv.transforms.loading.LoadImageFromFile', True),
        (LoadImageFromFile, True),
        (OwnLoader, False),
        ('mmcv.transforms.LoadAnnotations', False),
    ],
)
def test_the_loading_step_names_bad_images_however_it_is_written(kind, replaced):
    entry = dict(type='ConcatDataset', datasets=[dict(pipeline=[dict(type=kind, color_type='grayscale')])])
    cfg = Config(dict(train_dataloader=dict(dataset=entry)))
    name_bad_images(cfg)
    step = cfg.train_dataloader.dataset.datasets[0].pipeline[0]
    assert step == dict(type='mmdensenet.LoadImage' if replaced else kind, color_type='grayscale')


@pytest.mark.parametrize('key', ['val_dataloader', 'test_dataloader', 'tta_pipeline'])
def test_a_model_is_not_judged_on_reduced_images(key):
    """Nor does it predict them; training may have them."""
    step = dict(type='mmdensenet.LoadImage', reduce_to=224)
    name_bad_images(Config(dict(train_dataloader=dict(dataset=dict(pipeline=[step])))))
    entry = [step] if key == 'tta_pipeline' else dict(dataset=dict(dataset=dict(pipeline=[step])))
    with pytest.raises(UserError, match=rf'{key}.*reduce_to=224 changes pixels'):
        name_bad_images(Config({key: entry}))
    with pytest.raises(UserError, match='reduce_to=224'):
        pipeline_of(Config(dict(test_dataloader=dict(dataset=dict(pipeline=[step])))))
