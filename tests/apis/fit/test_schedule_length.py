"""How long to train, for the images, the minutes and the speed."""

import random

import cv2
import numpy as np
import pytest
from mmengine.config import Config

from mmdensenet.apis.fit import schedule_length as module
from mmdensenet.apis.fit.schedule_length import Cost, seconds_of_loading, seconds_per_image, training_length


def test_length_follows_images_and_minutes():
    cost = Cost(0.01, 32)
    free = training_length(420, 60, cost, False, None)
    assert (free.epochs, free.val_interval) == (40, 2)
    short = training_length(420, 60, cost, False, 1)
    assert short.epochs == 9
    assert short.expected <= 45 < cost.of(420, 60, 10, 1)
    assert training_length(100_000, 9, cost, True, 1).epochs == 1
    nine = cost.of(420, 60, 9, 1) / 60 / module.SHARE
    assert [training_length(420, 60, cost, False, nine * share).epochs for share in (0.999, 1.001)] == [8, 9]
    for pretrained, most in ((True, 40), (False, 80)):  # and no more, however many minutes
        assert training_length(420, 60, cost, pretrained, 1000).epochs == most
    fine = [training_length(images, 60, cost, True, None) for images in (500, 484)]
    assert [(length.epochs, length.val_interval) for length in fine] == [(30, 1), (31, 2)]


def test_everything_of_a_run_is_counted():
    """Steps, validation, loading in both parts, hooks of each step, two checkpoints of an epoch, and the start."""
    cost = Cost(0.01, 32, loading=0.002, saving=0.5)
    images = 40 * 420 * 0.012 + 20 * 60 * (0.01 / 3 + 0.002)
    steps = 40 * 14 + 20 * 1
    assert cost.of(420, 60, 40, 2) == pytest.approx(module.START + images + module.STEP * steps + 20 * 2 * 0.5)
    assert training_length(420, 60, cost, False, None).per_image == pytest.approx(0.012)


def test_a_step_is_measured_with_the_optimiser_that_trains():
    backbone = dict(type='mmdensenet.DenseNet', arch=dict(growth_rate=4, depths=(2,), init_channels=8), stem='cifar')
    head = dict(type='LinearClsHead', num_classes=2, in_channels=16)
    model = dict(type='ImageClassifier', backbone=backbone, neck=dict(type='GlobalAveragePooling'), head=head)
    sizes = []
    for optimizer in (dict(type='SGD', lr=0.1, momentum=0.9), dict(type='AdamW', lr=0.1)):
        cfg = Config(dict(model=model, optim_wrapper=dict(optimizer=optimizer)))
        seconds, size = seconds_per_image(cfg, (3, 8, 8), 4)
        assert seconds > 0
        sizes.append(size)
    parameters = 4 * sum(p.numel() for p in module_of(model).parameters())
    assert parameters < sizes[1] - sizes[0] < 1.5 * parameters, 'AdamW keeps two moments and a counter, SGD one'


def module_of(model):
    from mmpretrain.registry import MODELS

    return MODELS.build(model)


def test_loading_is_measured_as_far_as_it_takes_time(tmp_path, monkeypatch):
    files = [str(tmp_path / f'{i}.png') for i in range(3)]
    for file in files:
        cv2.imwrite(file, np.zeros((20, 20, 3), np.uint8))
    clock = iter(range(100))
    monkeypatch.setattr(module, 'time', type('Clock', (), dict(perf_counter=lambda: next(clock))))
    monkeypatch.setattr(module, 'core_count', lambda: 4)
    monkeypatch.setattr(module.torch.cuda, 'is_available', lambda: False)
    pipeline = [dict(type='LoadImageFromFile'), dict(type='RandomFlip', prob=0.5), dict(type='PackInputs')]
    before = np.random.get_state()[1].tolist(), random.getstate()
    assert seconds_of_loading(pipeline, files, 0) == 1, 'the training waits for it'
    assert seconds_of_loading(pipeline, files, 2) == 0.25, 'workers share the cores with it'
    assert (np.random.get_state()[1].tolist(), random.getstate()) == before
    monkeypatch.setattr(module.torch.cuda, 'is_available', lambda: True)
    assert seconds_of_loading(pipeline, files, 2) == 0
