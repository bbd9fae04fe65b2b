"""The network fits the images, the weights and the machine."""

import pytest
import torch

from mmdensenet.apis.fit.network import choose_network, smaller
from mmdensenet.convert.convert import convert_state_dict
from mmdensenet.errors import UserError
from mmdensenet.models import DenseNet, RDNet


def test_the_network_is_for_the_size_and_the_weights(tmp_path, monkeypatch):
    digits, cifar, small, large = (choose_network(side, 'none') for side in (8, 32, 64, 300))
    assert digits.backbone['arch']['depths'] == (3, 3, 3)
    assert (cifar.backbone['stem'], cifar.side) == ('cifar', 32)
    assert (small.backbone['stem'], small.side) == ('imagenet', 64)
    assert (large.backbone['arch'], large.side, large.load_from) == ('121', 224, None)
    assert choose_network(150, 'none').side == 128
    with pytest.raises(UserError, match='images of 64 pixels get a small network'):
        choose_network(64, 'imagenet')
    monkeypatch.setattr('mmdensenet.apis.fit.network.read_checkpoint', _no_network)
    with pytest.raises(UserError, match=r'ImageNet weights cannot be had .no route to host.*weights=none') as error:
        choose_network(300, None)
    assert '\n' not in str(error.value)


def _no_network(path):
    raise OSError('no route to host')


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    """Files of random weights, in layouts of ours, of timm and of torchvision."""
    folder = tmp_path_factory.mktemp('weights')
    small = DenseNet(arch=dict(growth_rate=8, depths=(2, 2), init_channels=16), in_channels=3, stem='cifar')
    torch.save({f'backbone.{key}': value for key, value in small.state_dict().items()}, folder / 'own.pth')
    rdnet = RDNet('tiny')
    torch.save({f'backbone.{key}': value for key, value in rdnet.state_dict().items()}, folder / 'rdnet.pth')
    deep = DenseNet('121', stem='deep', stem_blur=True)
    torch.save({f'backbone.{key}': value for key, value in deep.state_dict().items()}, folder / 'deep.pth')
    return folder


def test_weights_of_a_file_bring_their_network(weights):
    file = str(weights / 'own.pth')
    found = choose_network(48, file)
    arch = dict(growth_rate=8, depths=(2, 2), init_channels=16)
    assert found.backbone == dict(type='mmdensenet.DenseNet', arch=arch, stem='cifar')
    assert (found.features, found.side, found.load_from) == (32, 48, file)
    with pytest.raises(UserError, match=r'none\.pth'):
        choose_network(48, str(weights / 'none.pth'))
    rdnet = choose_network(100, str(weights / 'rdnet.pth'))
    assert rdnet.backbone == dict(type='mmdensenet.RDNet', arch='tiny') and rdnet.why[0].startswith('RDNet-tiny: ')
    assert rdnet.neck == dict(type='mmdensenet.NormedAveragePooling', in_channels=1040)
    assert (rdnet.features, rdnet.side, rdnet.batch_norm) == (1040, 96, False)
    deep = choose_network(100, str(weights / 'deep.pth')).backbone
    assert deep == dict(type='mmdensenet.DenseNet', arch='121', stem='deep', stem_blur=True)


@pytest.mark.parametrize(
    ('name', 'side', 'features'),
    [
        ('densenet169', 224, 1664),
        ('densenetblur121d', 64, 1024),
        ('densenet-bc-l40-k12', 32, 132),
        ('densenet-l40-k12', 90, 448),
        ('rdnet-tiny', 300, 1040),
        ('rdnet-tiny_8xb64_in1k', 40, 1040),
    ],
)
def test_a_network_by_name(name, side, features):
    found = choose_network(side, 'none', name)
    assert (found.name, found.features, found.is_asked) == (name, features, True)
    assert found.side == (min(side, 64) if 'l40' in name else min(side, 224) // 32 * 32)
    assert found.why[0] == f'{name}: the network that was asked for'
    assert found.batch_norm is not name.startswith('rdnet')
    assert smaller(found, 1, 0.1) is None, 'what was asked for is not changed'


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ((3, None, None), 'short side of at most 3 pixels, and the smallest network needs 4: enlarge'),
        ((32, None, 'densenet12'), r'network densenet12 does not exist\. Did you mean densenet121\?'),
        (
            (16, 'none', 'densenetblur121d'),
            'images of 16 pixels are too small for densenetblur121d, which divides their',
        ),
        ((31, 'none', 'rdnet-tiny'), 'images of 31 pixels are too small for rdnet-tiny, .* by 32: enlarge'),
        ((64, 'imagenet', 'rdnet-tiny'), 'the model zoo has none of rdnet-tiny to download'),
        ((64, 'rdnet.pth', 'densenet121'), r'rdnet\.pth are of RDNet-tiny, and network=densenet121 is another: leave'),
        ((64, 'deep.pth', 'densenet121'), r'are of DenseNet-121 .deep stem., and network=densenet121 is another'),
        ((64, 'own.pth', 'rdnet-tiny'), r'own\.pth are of DenseNet-BC .* and network=rdnet-tiny is another'),
    ],
)
def test_what_does_not_go_together_is_one_line(weights, options, message):
    side, file, network = options
    file = str(weights / file) if file and file.endswith('.pth') else file
    with pytest.raises(UserError, match=message) as error:
        choose_network(side, file, network)
    assert '\n' not in str(error.value)


def test_the_published_weights_of_a_network(monkeypatch):
    had = []
    monkeypatch.setattr('mmdensenet.apis.fit.network.read_checkpoint', had.append)
    found = choose_network(64, None, 'densenet169-288')
    assert found.load_from == had[0] and 'densenet169_4xb256' in found.load_from
    assert found.why[1] == 'From ImageNet weights'
    assert choose_network(64, None, 'densenetblur121d').load_from is None, 'another stem'
    assert choose_network(64, None, 'rdnet-tiny').why[1].startswith('Trained anew: the model zoo has no weights of it')


def test_the_network_of_a_config_file(tmp_path):
    file = tmp_path / 'own.py'
    arch = 'dict(growth_rates=(8, 16), downsample=(1,), init_channels=16)'
    file.write_text(f"model = dict(backbone=dict(type='mmdensenet.RDNet', arch={arch}, in_channels=1))\n")
    found = choose_network(32, 'none', str(file))
    assert found.neck == dict(type='GlobalAveragePooling') and found.features == 64 and found.side == 32
    assert 'in_channels' not in found.backbone
    for text, message in (
        ('model = dict()', 'has no model with a backbone'),
        ("model = dict(backbone=dict(type='ResNet', depth=18))", "type='ResNet': only mmdensenet.DenseNet"),
        ("model = dict(backbone=dict(type='mmdensenet.DenseNet', arch='122'))", "cannot be built: .*arch='122'"),
    ):
        file.write_text(text + '\n')
        with pytest.raises(UserError, match=message):
            choose_network(32, 'none', str(file))


def test_keras_epsilon_stays(weights, monkeypatch):
    """Weights of Keras have another epsilon, which the named network gets."""
    file = weights / 'own.pth'
    real = convert_state_dict

    def as_keras(tensors, **options):
        converted, report = real(tensors, **options)
        report.architecture.norm_eps = 1.001e-5
        return converted, report

    monkeypatch.setattr('mmdensenet.apis.fit.network.convert_state_dict', as_keras)
    own = weights / 'own.py'
    arch = 'dict(growth_rate=8, depths=(2, 2), init_channels=16)'
    own.write_text(
        f"model = dict(backbone=dict(type='mmdensenet.DenseNet', arch={arch}, stem='cifar', drop_rate=0.1))\n"
    )
    found = choose_network(48, str(file), str(own))
    assert found.backbone['norm_cfg'] == dict(type='BN', eps=1.001e-5) and found.backbone['drop_rate'] == 0.1
