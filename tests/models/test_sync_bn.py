"""mmdensenet.models.sync_bn; over ranks it is in tests/ops/test_sync_batch_norm.py."""

import torch
from torch import nn

from mmdensenet.models import SyncBatchNorm


def test_without_ranks_it_is_batch_norm():
    sync, plain = SyncBatchNorm(3), nn.BatchNorm2d(3)
    x = torch.randn(4, 3, 5, 5)
    for training in (True, False):
        assert torch.equal(sync.train(training)(x), plain.train(training)(x))


def test_the_name_builds_it_in_every_scope():
    from mmcv.cnn import build_norm_layer

    assert type(build_norm_layer(dict(type='SyncBN'), 4)[1]) is SyncBatchNorm
    assert build_norm_layer(dict(type='SyncBN'), 4)[0] == 'bn', "mmcv's naming sees a batch norm"
