"""mmdensenet.models.fixed_buffers: values that no state dict has, also of a module that was made without memory."""

import torch
from torch import nn

from mmdensenet.models.fixed_buffers import FixedBuffers


def test_values_come_again_with_memory():
    with torch.device('meta'):
        model = nn.Sequential(FixedBuffers(a=[1.0, 2.0], b=None), nn.Linear(2, 1))
    fixed = model[0]
    assert fixed.a.is_meta and fixed.b is None and list(model.state_dict()) == ['1.weight', '1.bias']
    assert model.half()[0].a.is_meta
    assert torch.equal(model.to_empty(device='cpu')[0].a, torch.tensor([1.0, 2.0]).half())
    fixed.a += 1
    assert fixed.double().a.tolist() == [2.0, 3.0], 'what is there stays'


def test_values_come_again_with_an_assigned_state_dict():
    with torch.device('meta'):
        model = nn.Sequential(FixedBuffers(a=[1.0, 2.0], b=None), nn.Linear(2, 1)).double()
    model.load_state_dict(nn.Sequential(nn.Identity(), nn.Linear(2, 1)).state_dict())
    assert model[0].a.is_meta, 'what is copied into such tensors is lost'
    model.load_state_dict(nn.Sequential(nn.Identity(), nn.Linear(2, 1)).state_dict(), assign=True)
    assert torch.equal(model[0].a, torch.tensor([1.0, 2.0], dtype=torch.float64)) and model[0].b is None
