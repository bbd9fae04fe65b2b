import pytest
import torch
from conftest import DIGITS

import mmdensenet
from mmdensenet.errors import UserError
from mmdensenet.export.fold import why_not_foldable
from mmdensenet.export.int8_graph import int8_graph, require_quantisable


@pytest.fixture
def model():
    return mmdensenet.get_model(str(DIGITS))


def test_a_network_that_cannot_be_folded_is_refused(model):
    require_quantisable(model, why_not_foldable(model.backbone))
    with pytest.raises(UserError, match=r'^`int8` needs a DenseNet with batch norm and ReLU: the norms are others\.$'):
        require_quantisable(model, 'the norms are others')


@pytest.mark.parametrize('part', ['neck', 'head'])
def test_other_parts_are_refused(model, part):
    setattr(model, part, torch.nn.Identity())
    with pytest.raises(UserError, match=r'^`int8` needs global average pooling and a LinearClsHead or Multi'):
        require_quantisable(model, None)


def test_activations_without_a_range_are_refused(model):
    images = [torch.full((1, 1, 8, 8), float('nan'))]
    with pytest.raises(UserError, match=r'^`int8`: '):
        int8_graph(model, images, 1, (8, 8), 'onnx')
