"""The faster equivalents give the batches of mmpretrain's steps."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import torch
from mmengine.dataset import default_collate
from mmpretrain.datasets.transforms import PackInputs
from mmpretrain.models.utils import ClsDataPreprocessor
from torch import nn

from mmdensenet.datasets.collate import collate
from mmdensenet.datasets.quick_steps import QuickPack
from mmdensenet.models.data_preprocessor import InPlaceDataPreprocessor
from mmdensenet.training.quicken import quicken


def test_steps_collating_and_normalisation():
    model = nn.Module()
    model.data_preprocessor = ClsDataPreprocessor(mean=[1.0] * 3, std=[2.0] * 3, num_classes=2)
    transforms = [PackInputs()]
    loader = SimpleNamespace(
        dataset=SimpleNamespace(pipeline=SimpleNamespace(transforms=transforms)), collate_fn=partial(default_collate)
    )
    images = [np.random.default_rng(i).integers(0, 256, (4, 5, 3), dtype=np.uint8) for i in range(2)]

    def batch():
        step = loader.dataset.pipeline.transforms[0]
        samples = [step(dict(img=image, gt_label=i)) for i, image in enumerate(images)]
        return model.data_preprocessor(loader.collate_fn(samples))

    expected = batch()
    quicken(model, loader)
    assert type(loader.dataset.pipeline.transforms[0]) is QuickPack and loader.collate_fn is collate
    assert type(model.data_preprocessor) is InPlaceDataPreprocessor
    found = batch()
    assert torch.equal(found['inputs'], expected['inputs'])
    assert [sample.gt_label.tolist() for sample in found['data_samples']] == [[0], [1]]
