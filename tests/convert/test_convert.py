"""Converted weights of every layout give the logits of their library."""

import pytest
import torch
from foreign_models import (
    CLASSES,
    DEPTHS,
    GROWTH,
    MODELS_OF,
    logits_of,
    ours,
    published_forms,
    randomise,
    rename,
    torchvision_model,
)
from torch import nn

from mmdensenet.convert import convert_state_dict, to_torchvision
from mmdensenet.convert.verify_conversion import verify_conversion
from mmdensenet.errors import UserError


@pytest.mark.parametrize('in_channels', [1, 3])
@pytest.mark.parametrize('library', MODELS_OF)
def test_same_logits_as_the_library(library, in_channels):
    theirs = randomise(MODELS_OF[library](in_channels=in_channels))
    converted, report = convert_state_dict(theirs.state_dict())
    assert report.architecture.in_channels == in_channels and report.architecture.num_classes == CLASSES
    assert len(report.used) == len(theirs.state_dict()) and not report.left and not report.missing
    images = torch.randn(3, in_channels, 65, 47, dtype=torch.float64)
    for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 1e-4)):
        expected = logits_of(theirs.to(dtype), images.to(dtype))
        assert expected.std() > 0.01, 'the logits say something'
        actual = ours(report, converted, dtype=dtype)(images.to(dtype))
        assert (actual - expected).abs().max() < tolerance


def test_a_backbone_alone_has_no_head():
    mine, _ = convert_state_dict(torchvision_model().state_dict())
    backbone = {key.removeprefix('backbone.'): value for key, value in mine.items() if key.startswith('backbone.')}
    converted, report = convert_state_dict(backbone)
    assert not any(key.startswith('head.') for key in converted)
    assert report.architecture.num_classes is None and 'starts anew' in report.summary()


def test_grey_images_from_colour_weights():
    theirs = randomise(torchvision_model()).double()
    converted, report = convert_state_dict(theirs.state_dict(), in_channels=1)
    assert 'adapted from 3 to 1 channels' in str(report)
    grey = torch.randn(2, 1, 64, 64, dtype=torch.float64)
    actual = ours(report, converted, in_channels=1, dtype=torch.float64)(grey)
    assert (actual - theirs(grey.expand(2, 3, 64, 64))).abs().max() < 1e-9


@pytest.mark.parametrize('wanted', [3, 4, 6])
def test_more_channels_are_repeated_and_rescaled(wanted):
    source = randomise(torchvision_model(in_channels=1 if wanted == 3 else 3)).double()
    converted, report = convert_state_dict(source.state_dict(), in_channels=wanted)
    weight, given = converted['backbone.stem.0.weight'], source.features.conv0.weight
    assert weight.shape[1] == wanted
    for channel in range(wanted):
        expected = given[:, channel % given.shape[1]] * given.shape[1] / wanted
        assert torch.allclose(weight[:, channel], expected, rtol=1e-12)
    if wanted % given.shape[1] == 0:  # a grey image gives the same
        grey = torch.randn(2, 1, 64, 64, dtype=torch.float64)
        actual = ours(report, converted, in_channels=wanted, dtype=torch.float64)(grey.expand(2, wanted, 64, 64))
        assert (actual - source(grey.expand(2, given.shape[1], 64, 64))).abs().max() < 1e-9


@pytest.mark.parametrize('kind', [torch.float16, torch.float8_e4m3fn])
def test_narrow_numbers_are_not_rounded_again(kind):
    state = randomise(torchvision_model()).state_dict()
    state = {key: value.to(kind) if value.is_floating_point() else value for key, value in state.items()}
    given = state['features.conv0.weight'].double()
    grey = convert_state_dict(state, in_channels=1)[0]['backbone.stem.0.weight']
    assert (grey.double() - given.sum(1, keepdim=True)).abs().max() < 1e-6 < given.abs().max()


def test_other_classes_leave_the_head_fresh():
    state = torchvision_model().state_dict()
    converted, report = convert_state_dict(state, num_classes=3)
    assert not any(key.startswith('head.') for key in converted)
    assert 'starts anew' in str(report)
    assert 'head.fc.weight' in convert_state_dict(state, num_classes=CLASSES)[0]


class TestIncomplete:
    """An incomplete match is an error, unless it is asked for."""

    def check(self, state, message, missing=0, left=0):
        with pytest.raises(UserError, match=message):
            convert_state_dict(state)
        converted, report = convert_state_dict(state, partial=True)
        assert (len(report.missing), len(report.left)) == (missing, left)
        return converted

    def test_a_tensor_is_missing(self):
        state = torchvision_model().state_dict()
        del state['features.denseblock2.denselayer2.conv1.weight']
        self.check(state, r'missing: backbone\.stages\.1\.block\.1\.conv1\.weight', missing=1)

    def test_a_tensor_has_another_shape(self):
        state = torchvision_model().state_dict()
        state['features.transition1.norm.bias'] = torch.zeros(3)
        self.check(state, r'backbone\.transitions\.0\.norm\.bias', missing=1, left=1)

    def test_a_tensor_is_left(self):
        state = dict(torchvision_model().state_dict(), **{'features.attention.weight': torch.zeros(3)})
        self.check(state, r'left: features\.attention\.weight', left=1)

    def test_a_head_of_two_layers_is_not_converted(self):
        model = torchvision_model()
        model.classifier = nn.Sequential(nn.Linear(model.classifier.in_features, 5), nn.ReLU(), nn.Linear(5, 2))
        converted = self.check(model.state_dict(), r'left: classifier\.0\.weight', left=4)
        assert not any(key.startswith('head.') for key in converted)

    def test_other_parts_of_the_file_are_only_reported(self):
        checkpoint, _ = published_forms(torchvision_model().state_dict())['Lightning']
        _, report = convert_state_dict(checkpoint)
        assert report.elsewhere == ['criterion.pos_weight'] and 'criterion.pos_weight' in str(report)


def test_two_models_in_a_file():
    first, second = randomise(torchvision_model(), 0).state_dict(), randomise(torchvision_model(), 1).state_dict()
    both = {**rename(first, prefix='model.'), **rename(second, prefix='ema.')}
    with pytest.raises(UserError, match=r"several DenseNets .* `prefix`, of 'model\.', 'ema\.'"):
        convert_state_dict(both)
    converted, report = convert_state_dict(both, prefix='ema.')
    assert torch.equal(converted['head.fc.bias'], second['classifier.bias'])
    assert len(report.elsewhere) == len(first)


@pytest.mark.parametrize('blur', [False, True])
def test_deep_stems_of_timm(blur):
    """No tensor shows BlurPool: it is assumed for 121's blocks with a deep stem, which timm has only with it."""
    timm = pytest.importorskip('timm', reason='timm is not installed (requirements/peers.txt)')
    if blur:
        with torch.device('meta'):
            model = timm.create_model('densenetblur121d')
        theirs = model.to_empty(device='cpu')
        theirs.features.pool0[1].reset_parameters()
    else:
        theirs = timm.models.densenet.DenseNet(growth_rate=GROWTH, block_config=DEPTHS, stem_type='deep')
    theirs = randomise(theirs).double().eval()
    converted, report = convert_state_dict(theirs.state_dict())
    assert report.architecture.stem == 'deep' and report.architecture.stem_blur == blur
    assert not report.left and not report.missing and 'no tensor shows' in report.notes[0]
    if blur:
        assert report.architecture.name == 'DenseNet-121 (deep stem)'
        assert sum(value.numel() for value in theirs.parameters()) == 7_998_088
    images = torch.randn(2, 3, 64, 96, dtype=torch.float64)
    logits = ours(report, converted, dtype=torch.float64)(images)
    assert (logits - theirs(images)).abs().max() < 1e-9 < logits.abs().max()
    assert 'from timm' in verify_conversion(theirs.state_dict(), report)
    with pytest.raises(ValueError, match='no DenseNet with a deep stem'):
        to_torchvision(converted)


@pytest.mark.slow
@pytest.mark.parametrize('name', ['densenet121', 'densenet161', 'densenet169', 'densenet201'])
def test_whole_models_of_timm_monai_and_torchxrayvision(name):
    """Of full size, as their users have them."""
    timm = pytest.importorskip('timm', reason='timm is not installed (requirements/peers.txt)')
    models = [timm.create_model(name)]
    nets = pytest.importorskip('monai.networks.nets', reason='MONAI is not installed (requirements/peers.txt)')
    if name == 'densenet121':
        models.append(nets.DenseNet121(2, 1, 14))
        xrv = pytest.importorskip('torchxrayvision', reason='torchxrayvision is not installed (requirements/peers.txt)')
        models.append(xrv.models.DenseNet(weights=None))
    for model in models:
        theirs = randomise(model)
        converted, report = convert_state_dict(theirs.state_dict())
        assert report.architecture.name == name.replace('densenet', 'DenseNet-')
        images = torch.randn(2, report.architecture.in_channels, 96, 96)
        assert (ours(report, converted)(images) - theirs(images)).abs().max() < 1e-4


def raw_and_averaged(extra=''):
    """A checkpoint of timm's trainer."""
    raw, averaged = (randomise(torchvision_model(), seed).state_dict() for seed in (0, 1))
    return dict(
        epoch=3,
        arch='densenet121',
        state_dict=rename(raw, prefix=extra),
        optimizer=dict(state={}),
        version=2,
        state_dict_ema=rename(averaged, prefix=extra),
        metric=71.0,
    ), averaged


@pytest.mark.parametrize('prefix', ['', 'module.'])
def test_averaged_weights_are_used_and_noted(prefix):
    checkpoint, averaged = raw_and_averaged(prefix)
    converted, report = convert_state_dict(checkpoint)
    expected, plain = convert_state_dict(averaged)
    assert converted.keys() == expected.keys() and all(torch.equal(converted[k], expected[k]) for k in expected)
    assert report.notes == ['the averaged weights (EMA, state_dict_ema) were taken, not the raw ones (state_dict)']
    assert 'EMA' in report.summary() and not plain.notes
    checkpoint['state_dict_ema'] = None
    raw, report = convert_state_dict(checkpoint)
    assert not report.notes and not torch.equal(raw['head.fc.bias'], expected['head.fc.bias'])
