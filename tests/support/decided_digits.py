"""Digits with a network that was not trained below its head: a checkpoint for tests of decisions, made in seconds."""

from pathlib import Path

import numpy as np
import torch
from conftest import DIGITS
from foreign_models import randomise
from sklearn.linear_model import LogisticRegression

import mmdensenet
from mmdensenet.datasets import Digits

CONFIG = """_base_ = {digits!r}
{more}
val_dataloader = dict(dataset=dict(indices=list(range(200))))
test_dataloader = dict(dataset=dict(indices=list(range(200, 450))))
"""
#: digits as labels of their own: several for each image
LABELS = """
model = dict(head=dict(_delete_=True, type='MultiLabelLinearClsHead', in_channels=69, num_classes=10))
val_evaluator = dict(_delete_=True, type='AveragePrecision')
test_evaluator = val_evaluator
"""


def make_digits(folder: Path, more: str = '', sharpness: float = 3.0) -> tuple[str, str]:
    """A config and a checkpoint. Its logits are ``sharpness`` times those of a logistic regression on the features."""
    config = folder / 'digits.py'
    config.write_text(CONFIG.format(digits=str(DIGITS), more=more))
    model = randomise(mmdensenet.get_model(str(config)))
    dataset = Digits('train', indices=400)
    samples = [dataset.get_data_info(i) for i in range(len(dataset))]
    images = torch.from_numpy(np.stack([sample['img'] for sample in samples])).permute(0, 3, 1, 2)
    with torch.no_grad():
        inputs = model.data_preprocessor(dict(inputs=images))['inputs']
        features = model.neck(model.backbone(inputs))[-1].numpy()
    mean, std = features.mean(0), features.std(0)
    std = std.clip(min=0.1 * std.max())  # or roundings of features that say little would become large logits
    fitted = LogisticRegression(max_iter=200, C=0.1).fit((features - mean) / std, [s['gt_label'] for s in samples])
    weight = sharpness * fitted.coef_ / std
    model.head.fc.weight.data = torch.from_numpy(weight).float()
    model.head.fc.bias.data = torch.from_numpy(sharpness * fitted.intercept_ - weight @ mean).float()
    meta = dict(dataset_meta=dict(classes=tuple('0123456789')))
    torch.save(dict(meta=meta, state_dict=model.state_dict()), folder / 'w.pth')
    return str(config), str(folder / 'w.pth')


def digit_images(first: int, last: int) -> list[np.ndarray]:
    """Images of the held-out quarter: validation is the first 200, test the others."""
    dataset = Digits('test')
    return [dataset.get_data_info(i)['img'] for i in range(first, last)]
