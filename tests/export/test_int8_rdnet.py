"""The parts of RDNet's integer graph that can be checked without a runtime; test_every_backbone.py has its scores."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from backbones import BACKBONES
from mmengine.registry import MODELS
from torch import nn

from mmdensenet.export.int8 import Range, scale_and_zero
from mmdensenet.export.int8_rdnet import _calibrate, _equalise, int8_rdnet


def test_equalised_channels_fill_the_range_and_change_nothing():
    torch.manual_seed(0)
    norm, conv = nn.LayerNorm(6).double(), nn.Conv2d(6, 4, 1).double()
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1e-4, 3.0, -0.5, 20.0, 1.0, 0.0]))
        norm.bias.copy_(torch.randn(6) * norm.weight)
    x = torch.randn(5, 3, 3, 6, dtype=torch.double)

    def given():
        return norm(x).permute(0, 3, 1, 2)

    before, values = conv(given()), given().detach().numpy()
    low, high = _equalise(norm, conv, Range(values.min((0, 2, 3)), values.max((0, 2, 3))))
    torch.testing.assert_close(conv(given()), before, rtol=0, atol=1e-12)
    values = given().detach()
    largest = values.abs().amax((0, 2, 3))
    assert largest == pytest.approx([1, 1, 1, 1, 1, 0]) and (low, high) == pytest.approx(
        (float(values.min()), float(values.max()))
    )


@pytest.mark.parametrize(('low', 'high', 'scale', 'zero'), [(-1, 1.55, 0.01, 100), (2, 5.1, 0.02, 0)])
def test_bytes_stand_for_zero_too(low, high, scale, zero):
    assert scale_and_zero(low, high) == (pytest.approx(scale), zero)


def test_ranges_are_those_of_all_batches():
    net = nn.Sequential(nn.Conv2d(2, 3, 1), nn.ReLU(), nn.Conv2d(3, 1, 1)).eval()
    batches = torch.randn(3, 4, 2, 5, 5)
    order, ranges = _calibrate(net, batches)
    assert order == [net[0], net[2]]
    given, made = ranges[net[0]]
    assert given.low == pytest.approx(batches.amin((0, 1, 3, 4)).numpy())
    assert made.high == pytest.approx(net[0](batches.flatten(0, 1)).detach().amax((0, 2, 3)).numpy())
    assert np.all(ranges[net[2]][0].low >= 0), 'behind the ReLU'


def mean(features):
    return features[-1].mean((2, 3))


@pytest.mark.parametrize(
    ('batches', 'message'),
    [([], 'no image to calibrate with'), ([torch.full((1, 3, 32, 32), float('nan'))], 'not finite')],
)
def test_what_cannot_calibrate(batches, message):
    backbone, _ = BACKBONES['RDNet']
    model = SimpleNamespace(backbone=MODELS.build(dict(backbone)), with_neck=False, head=mean)
    with pytest.raises(ValueError, match=message):
        int8_rdnet(model, batches, None, (32, 32), 'onnx')


def test_stages_behind_the_last_that_is_needed_are_left_out():
    backbone, _ = BACKBONES['RDNet']
    torch.manual_seed(0)
    model = SimpleNamespace(backbone=MODELS.build(dict(backbone, out_indices=0)).eval(), with_neck=False, head=mean)
    images = torch.randn(2, 3, 32, 32)
    proto = int8_rdnet(model, [images], None, (32, 32), 'onnx')
    runtime = pytest.importorskip('onnxruntime')
    scores = runtime.InferenceSession(proto.SerializeToString()).run(None, {'images': images.numpy()})[0]
    expected = torch.softmax(mean(model.backbone(images)), 1)
    assert scores == pytest.approx(expected.detach().numpy(), abs=0.01)
