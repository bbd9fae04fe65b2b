"""Repairs of mmpretrain."""

import numpy as np
import pytest
import torch
from pixel_transforms import KINDS, build, images, run, same_kind


@pytest.mark.parametrize(('mode', 'numpys'), [('reflect', 'reflect'), ('edge', 'edge'), ('symmetric', 'symmetric')])
def test_random_crop_pads_as_said(mode, numpys):
    crop = build('RandomCrop', crop_size=(15, 17), padding=3, padding_mode=mode)
    image = np.random.default_rng(0).integers(0, 256, (9, 11, 3), dtype=np.uint8)
    assert (run(crop, image) == np.pad(image, ((3, 3), (3, 3), (0, 0)), mode=numpys)).all()
    assert crop.padding == 3


def test_hyperparameters_of_auto_augment():
    policies = [[dict(type='Rotate', angle=45.0, prob=1.0)], [dict(type='Rotate', angle=45.0, prob=1.0, pad_val=5)]]
    augment = build('AutoAugment', policies=policies, hparams=dict(pad_val=[1, 2, 3], interpolation='bilinear'))
    assert [steps.transforms[0].pad_val for steps in augment.transforms] == [(1, 2, 3), 5]
    assert [steps.transforms[0].interpolation for steps in augment.transforms] == ['bilinear'] * 2


@pytest.mark.parametrize('fill_std', [None, 30])
def test_erasing_with_noise(fill_std):
    erase = build('RandomErasing', erase_prob=1.0, mode='rand', fill_std=fill_std)
    for kind in KINDS:
        for number, image in enumerate(images(kind, count=60, smallest=8)):
            out = same_kind(run(erase, image, number), image)
            share = (out != image).reshape(*image.shape[:2], -1).any(2).mean()
            assert share <= 0.5


def test_metrics_of_retrieval():
    """They called np.in1d."""
    from mmpretrain.evaluation import RetrievalRecall

    scores = torch.tensor([[0.9, 0.1, 0.3], [0.2, 0.1, 0.7]])
    assert RetrievalRecall.calculate(scores, [[1], [2]], topk=1)[0] == pytest.approx(50)
