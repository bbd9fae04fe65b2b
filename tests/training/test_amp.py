import pytest
import torch
from mmengine.device import get_device
from mmengine.registry import OPTIM_WRAPPERS

from mmdensenet.errors import UserError

pytestmark = pytest.mark.skipif(get_device() != 'cpu', reason='about machines without a GPU')


def build(**kwargs):
    model = torch.nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return model, OPTIM_WRAPPERS.build(dict(type='AmpOptimWrapper', optimizer=optimizer, **kwargs))


@pytest.mark.parametrize(
    'kwargs', [{}, dict(dtype='bfloat16', loss_scale='dynamic'), dict(clip_grad=dict(max_norm=1.0))]
)
def test_trains_in_bfloat16(kwargs):
    model, wrapper = build(**kwargs)
    before = model.weight.detach().clone()
    with wrapper.optim_context(model):
        out = model(torch.randn(3, 4))
    assert out.dtype == torch.bfloat16
    wrapper.update_params(out.float().square().sum())
    assert model.weight.dtype == torch.float32
    assert not torch.equal(model.weight, before)
    state = wrapper.state_dict()
    assert 'loss_scaler' not in state, 'a GPU cannot resume from an empty one'
    wrapper.load_state_dict(state)


def test_float16_is_refused():
    with pytest.raises(UserError, match='bfloat16 only'):
        build(dtype='float16')
