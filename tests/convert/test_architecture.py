"""The architecture is inferred from names and shapes of tensors."""

import pytest
import torch
from foreign_models import DEPTHS, INIT, torchvision_model

from mmdensenet.convert import convert_state_dict
from mmdensenet.errors import UserError


@pytest.mark.parametrize('name', ['densenet121', 'densenet161', 'densenet169', 'densenet201'])
def test_architecture_from_shapes(name):
    import torchvision

    with torch.device('meta'):
        state = getattr(torchvision.models, name)(weights=None).state_dict()
    _, report = convert_state_dict(state)
    assert report.architecture.name == name.replace('densenet', 'DenseNet-')
    from mmdensenet.models import DenseNet

    with torch.device('meta'):
        expected = DenseNet(name.removeprefix('densenet')).state_dict()
    assert {f'backbone.{key}': value.shape for key, value in expected.items()} == {
        key: shape for key, shape in report.architecture.shapes().items() if key.startswith('backbone.')
    }


@pytest.mark.parametrize(
    ('settings', 'name'),
    [
        (dict(growth_rate=32, depths=(6, 12, 64, 48), init_channels=64), 'DenseNet-264'),
        (dict(growth_rate=48, depths=(6, 12, 64, 48), init_channels=96), 'DenseNet-264 (k=48)'),
        (dict(growth_rate=48, depths=(6, 12, 48, 48), init_channels=96), 'DenseNet-232 (k=48)'),
        (dict(growth_rate=4, depths=DEPTHS, init_channels=INIT), 'DenseNet-21 (k=4)'),
    ],
)
def test_names_are_those_of_the_papers(settings, name):
    from mmdensenet.models import DenseNet

    with torch.device('meta'):
        state = DenseNet(settings).state_dict()
    assert convert_state_dict(state)[1].architecture.name == name


@pytest.mark.parametrize(
    ('settings', 'name'),
    [
        (dict(depths=(12,) * 3, init_channels=16, bottleneck=False, compression_factor=1.0), 'DenseNet (L=40, k=12)'),
        (dict(depths=(6, 6, 6), init_channels=24), 'DenseNet-BC (L=40, k=12)'),
        (dict(depths=(6, 6, 6), init_channels=24, compression_factor=1.0), 'DenseNet-B (L=40, k=12)'),
        (dict(depths=(4, 4, 4), init_channels=16, bottleneck=False), 'DenseNet-C (L=16, k=12)'),
    ],
)  # fmt: skip
def test_architectures_for_small_images(settings, name):
    from mmdensenet.models import DenseNet

    settings = dict(settings)
    arch = dict(growth_rate=12, depths=settings.pop('depths'), init_channels=settings.pop('init_channels'))
    with torch.device('meta'):
        model = DenseNet(arch=arch, stem='cifar', **settings)
    _, report = convert_state_dict({f'backbone.{key}': value for key, value in model.state_dict().items()})
    assert report.architecture.name == name
    assert report.architecture.backbone()['arch'] == arch
    for key, value in settings.items():
        assert report.architecture.backbone()[key] == value


def test_volumes_are_refused():
    state = torchvision_model().state_dict()
    state['features.conv0.weight'] = torch.zeros(INIT, 1, 7, 7, 7)
    with pytest.raises(UserError, match='3 dimensions'):
        convert_state_dict(state)


def test_other_stems_are_refused():
    state = torchvision_model().state_dict()
    state['features.conv0.weight'] = torch.zeros(INIT, 3, 3, 3)
    with pytest.raises(UserError, match=r'3x3 convolution with norm, is neither that of ImageNet \(7x7'):
        convert_state_dict(state)
