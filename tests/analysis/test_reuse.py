"""mmdensenet.analysis.reuse: figure 5 of the paper."""

import numpy as np
import pytest
import torch
from helpers import randomise
from torch import nn

from mmdensenet.analysis.reuse import feature_reuse, reuse_figure
from mmdensenet.errors import UserError
from mmdensenet.models import DenseNet

ARCH = dict(growth_rate=3, depths=(2, 3), init_channels=5)


class Classifier(nn.Module):
    def __init__(self, **kwargs):
        super().__init__()
        self.backbone = DenseNet(ARCH, stem='cifar', **kwargs)
        self.head = nn.Linear(self.backbone.out_channels[0], 4)
        randomise(self)


@pytest.mark.parametrize('bottleneck', [True, False])
def test_every_weight_by_hand(bottleneck):
    model = Classifier(bottleneck=bottleneck)
    first, second = feature_reuse(model)
    assert (first.sources, first.readers, first.widths) == (['input', '1', '2'], ['1', '2', 'transition'], [5, 3, 3])
    # (5 + 2 * 3) / 2 channels leave the transition
    assert (second.readers[-1], second.widths) == ('classifier', [5, 3, 3, 3])
    for number, block in enumerate((first, second)):
        layers = model.backbone.stages[number].block
        last = [model.backbone.transitions[0].conv, model.head][number]
        weights = [*(layer.conv1.weight for layer in layers), last.weight]
        assert block.weights.shape == (len(layers) + 1, len(layers) + 1)
        for t, weight in enumerate(weights):
            start = 0
            for s, width in enumerate(block.widths):
                if start >= weight.shape[1]:
                    assert np.isnan(block.weights[s, t]), 'a later layer is not read'
                else:
                    part = weight[:, start : start + width]
                    kernel = 1 if weight.ndim == 2 else weight[0, 0].numel()
                    norm = part.abs().sum().item() / width  # the paper: L1, by the number of input feature maps
                    assert block.weights[s, t] == pytest.approx(norm / len(weight) / kernel, rel=1e-6)
                start += width


def test_scales():
    block = feature_reuse(Classifier())[1]
    assert np.nanmax(block.relative(), axis=0) == pytest.approx(1)
    assert np.nansum(block.shares(), axis=0) == pytest.approx(1)
    ratio = block.relative() / block.weights
    assert np.nanmax(np.nanstd(ratio, axis=0)) < 1e-12, 'a reader has one factor'


def test_a_source_without_readers_has_weight_0():
    model = Classifier()
    with torch.no_grad():
        for layer in model.backbone.stages[1].block:
            layer.conv1.weight[:, :5] = 0
    block = feature_reuse(model)[1]
    assert (block.weights[0, 1:3] == 0).all()
    assert (block.weights[1, 1:3] > 0).all()


def test_a_backbone_alone_has_no_classifier():
    blocks = feature_reuse(DenseNet(ARCH))
    assert [block.readers[-1] for block in blocks] == ['transition', '3']
    assert blocks[1].weights.shape == (4, 3)
    reuse_figure(blocks)


def test_other_models_are_refused():
    with pytest.raises(UserError, match='Linear has no dense blocks'):
        feature_reuse(nn.Linear(2, 2))


def test_the_figure_has_the_values():
    blocks = feature_reuse(Classifier())
    for scale, values in [
        ('reader', blocks[1].relative()),
        ('block', blocks[1].weights / np.nanmax(blocks[1].weights)),
        ('none', blocks[1].weights),
    ]:
        figure = reuse_figure(blocks, scale)
        axes = figure.axes[1]
        np.testing.assert_array_equal(np.ma.filled(axes.images[0].get_array(), np.nan), values)
        assert [label.get_text() for label in axes.get_yticklabels()] == ['input', '1', '2', '3']
        assert [label.get_text() for label in axes.get_xticklabels()] == ['1', '2', '3', 'classifier']
    with pytest.raises(UserError, match="scale 'log': choose one of reader"):
        reuse_figure(blocks, 'log')
