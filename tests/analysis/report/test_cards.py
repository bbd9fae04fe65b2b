"""The rows of the cards of model and data."""

import hashlib

import numpy as np
from made_scores import several, single
from mmengine.config import Config
from torch import nn

from mmdensenet.analysis.report.cards import data_card, model_card

DATA = dict(
    type='CustomDataset',
    data_root='photos',
    pipeline=[dict(type='LoadImageFromFile'), dict(type='CenterCrop', crop_size=8, _scope_='mmpretrain')],
)
CFG = Config(
    dict(
        model=dict(head=dict(loss=dict(type='CrossEntropyLoss'))),
        data_preprocessor=dict(mean=[1.0, 2.0, 3.5], std=[4.0] * 3),
        train_dataloader=dict(batch_size=5, dataset=dict(type='RepeatDataset', dataset=DATA)),
        test_dataloader=dict(dataset=DATA),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9)),
    )
)


class Backbone(nn.Linear):
    growth_rate, depths = 32, (6, 12)


def card(meta, checkpoint='w.pth'):
    model = nn.Module()
    model.backbone, model.head = Backbone(50, 20), nn.Linear(20, 3)
    model.head.num_classes = 1000
    return dict(model_card(CFG, model, checkpoint, meta))


def test_the_model(tmp_path):
    (tmp_path / 'w.pth').write_bytes(b'x' * 2**20)
    meta = dict(epoch=3, iter=1200, seed=7, time='20260131_235900', mmengine_version='0.10.7' + 'a' * 40)
    found = card(meta, str(tmp_path / 'w.pth'))
    assert found.pop('report by').startswith('mmdensenet ') and found.pop('report of')
    assert found == {
        'model': 'Module with Backbone and Linear',
        'architecture': 'growth rate 32, blocks of 6, 12 layers',
        'classes': '1,000',
        'parameters': '1,083',
        'normalisation': 'minus 1, 2, 3.5, divided by 4, 4, 4, of values up to 255, as RGB',
        'checkpoint': f'w.pth, 1.0 MiB, SHA-256 {hashlib.sha256(b"x" * 2**20).hexdigest()}',
        'trained for': '3 epochs, 1,200 iterations, until 2026-01-31 23:59',
        'training data': 'CustomDataset, data_root photos',
        'training batch': '5',
        'optimiser': 'SGD (lr 0.1, momentum 0.9)',
        'loss': 'CrossEntropyLoss',
        'seed': '7',
        'written by': 'mmengine 0.10.7',
    }


def test_what_is_not_known_has_no_row():
    found = card(dict(time='someday', epoch=1))
    assert found['trained for'] == '1 epochs, until someday'
    assert not {'seed', 'written by'} & set(found)


def test_the_data():
    scores = single(20, 4, groups=np.arange(20) // 2)
    assert dict(data_card(CFG, scores, 25)) == {
        'test set': 'CustomDataset, data_root photos',
        'images': '25',
        'images in this report': '20; the others have no known class',
        'classes with images': f'{len(set(scores.truth.tolist()))} of 4',
        'groups': '10, such as patients',
        'preparation': 'LoadImageFromFile; CenterCrop (crop_size 8)',
    }
    labels = several(10)
    known = int((labels.truth >= 0).sum())
    found = dict(data_card(CFG, labels, 10))
    assert found['known labels'] == f'{known} of 30 ({known / 30:.1%})'
    assert found['threshold'] == 'a label is predicted from a score of 0.5 on' and 'classes with images' not in found
