"""A checkpoint with what training keeps, and what it must be after it was read."""

from collections import OrderedDict

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer, MessageHub


def history(values=(1.5, 2.5, -3.0)):
    return HistoryBuffer(list(values), [1] * len(values), max_length=100)


def checkpoint(**extra):
    return dict(
        meta=dict(epoch=3, iter=30, seed=np.int64(5), dataset_meta=dict(classes=('a', 'b'))),
        state_dict=torch.nn.BatchNorm2d(3).state_dict(),
        message_hub=dict(
            log_scalars=OrderedDict({'train/loss': history()}),
            runtime_info=OrderedDict(best_score=np.float32(0.5), last_ckpt='x.pth', names=np.array(['u', 'v'])),
            resumed_keys=OrderedDict({'train/loss': True}),
        ),
        **extra,
    )


def assert_restored(loaded):
    buffer = loaded['message_hub']['log_scalars']['train/loss']
    assert isinstance(buffer, HistoryBuffer)
    assert [part.tolist() for part in buffer.data] == [[1.5, 2.5, -3.0], [1, 1, 1]]
    assert buffer.max_length == 100
    assert buffer.mean() == pytest.approx(1 / 3)
    assert loaded['meta']['seed'] == 5
    assert loaded['meta']['dataset_meta'] == dict(classes=('a', 'b'))
    assert loaded['message_hub']['runtime_info']['best_score'] == 0.5
    MessageHub.get_instance('restored').load_state_dict(loaded['message_hub'])
