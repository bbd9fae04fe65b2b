"""The integer graph in ONNX against the float one: where its norms are clamps of the stored levels, and where not."""

from collections import Counter

import pytest
import torch
from exported_means import run_onnx
from folded_networks import Features, network

from mmdensenet.export.fold import FoldedDenseNet, NormReLU
from mmdensenet.export.int8 import calibrate

pytest.importorskip('onnxruntime', reason='the extra export is not installed')


def error(folded: FoldedDenseNet, monkeypatch, clamps: bool) -> tuple[float, Counter]:
    """Of the features' means, beside how much they vary, and how many operators of each kind there are."""
    from mmdensenet.export import int8_onnx

    monkeypatch.setattr(int8_onnx.OnnxWriter, 'clamps', clamps)
    images = torch.randn(32, 3, 16, 16)
    channels = len(folded.norm.scale)
    model = Features(folded, channels)
    proto = int8_onnx.int8_onnx(model, calibrate(folded, [images]), None, (16, 16))
    scores = torch.from_numpy(run_onnx(proto, images.numpy(), 'scores')[0]).double()
    with torch.no_grad():
        expected = model(images)
    kinds = Counter(node.op_type for node in proto.graph.node)
    return float((torch.logit(scores) - expected).std() / expected.std()), kinds


def test_clamps_are_as_exact_as_requantisation(monkeypatch):
    folded = network()
    norms = [module for module in folded.modules() if isinstance(module, NormReLU)][:-1]
    assert all((norm.scale < 0).any() and (norm.scale > 0).any() for norm in norms)
    requantised, kinds = error(folded, monkeypatch, clamps=False)
    assert kinds['Max'] == kinds['Min'] == 0
    convolutions = kinds['Conv']
    found, kinds = error(folded, monkeypatch, clamps=True)
    assert kinds['Max'] == kinds['Min'] == len(norms)
    assert kinds['Conv'] == convolutions - len(norms)
    assert found < 1.2 * requantised < 0.02


def test_layers_that_pad_with_zeros_are_requantised(monkeypatch):
    """There 0 has to be the level 0."""
    found, kinds = error(network(bottleneck=False), monkeypatch, clamps=True)
    assert kinds['Max'] == kinds['Min'] == 1, 'the transition'
    assert found < 0.02


@pytest.mark.parametrize('stem', [dict(stem='deep'), dict(stem='deep', stem_blur=True)])
def test_other_stems(stem, monkeypatch):
    found, _ = error(network(**stem), monkeypatch, clamps=True)
    plain, _ = error(network(stem='imagenet'), monkeypatch, clamps=True)
    assert found < 0.03 and found < 3 * plain


def test_coarse_weights_are_requantised(monkeypatch):
    """A channel of which only the topmost levels are not 0 would need a weight beside which others round to 0."""
    folded = network()
    norm = folded.blocks[0][0].norm
    with torch.no_grad():
        low, high = bounds_of(folded)
        norm.scale[5] = 50 * norm.scale.abs().max()
        norm.shift[5] = -norm.scale[5] * (high - 0.004 * (high - low))[5]
    _, kinds = error(folded, monkeypatch, clamps=True)
    assert kinds['Max'] == len([m for m in folded.modules() if isinstance(m, NormReLU)]) - 2


def bounds_of(folded: FoldedDenseNet) -> tuple[torch.Tensor, torch.Tensor]:
    images = torch.randn(32, 3, 16, 16)
    out = folded.stem(images)
    return out.amin((0, 2, 3)), out.amax((0, 2, 3))
