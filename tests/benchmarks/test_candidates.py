"""All candidates of one table are the same model."""

import pytest
import torch

from benchmarks.architectures import ARCHITECTURES
from benchmarks.candidates import CANDIDATES, DEFAULTS
from benchmarks.measure import UnavailableError

ONE_OF_EACH = ('mmpretrain', 'torchvision', 'timm', 'mmdensenet reference channels_last')


@pytest.mark.parametrize(
    ('name', 'arch'),
    [(name, arch) for name in CANDIDATES for arch in ('tiny', 'bc-100-12')] + [(name, '264') for name in ONE_OF_EACH],
)
def test_parameter_counts_are_equal(name, arch):
    try:
        with torch.device('meta'):
            model = CANDIDATES[name].model(ARCHITECTURES[arch])
    except UnavailableError as reason:
        pytest.skip(str(reason))
    assert sum(parameter.numel() for parameter in model.parameters()) == ARCHITECTURES[arch].parameters


@pytest.mark.parametrize('name', ONE_OF_EACH)
@pytest.mark.parametrize(('arch', 'size'), [('tiny', 64), ('bc-100-12', 16)])
def test_feature_maps_have_the_same_sizes(name, arch, size):
    """The stem of CIFAR models keeps the resolution: the last layer's maps are as large as the architecture says."""
    expected = list(ARCHITECTURES[arch].stages(size))[-1].side
    try:
        with torch.device('meta'):
            model = CANDIDATES[name].model(ARCHITECTURES[arch])
            seen = []
            convolutions = [module for module in model.modules() if isinstance(module, torch.nn.Conv2d)]
            last = [module for module in convolutions if module.kernel_size == (3, 3)][-1]
            last.register_forward_hook(lambda module, inputs, out: seen.append(out.shape[-1]))
            out = model(torch.zeros(2, 3, size, size))
    except UnavailableError as reason:
        pytest.skip(str(reason))
    assert seen == [expected]
    assert out.shape == (2, ARCHITECTURES[arch].classes)


def test_defaults_are_candidates_of_the_device():
    for device, names in DEFAULTS.items():
        assert len(set(names)) == len(names)
        assert all(device in CANDIDATES[name].devices for name in names)
