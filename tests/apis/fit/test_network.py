"""The network fits the images, the weights and the machine."""

import pytest

from mmdensenet.apis.fit.network import choose_network
from mmdensenet.errors import UserError


def test_the_network_is_for_the_size_and_the_weights(tmp_path, monkeypatch):
    digits, cifar, small, large = (choose_network(side, 'none') for side in (8, 32, 64, 300))
    assert digits.backbone['arch']['depths'] == (3, 3, 3)
    assert (cifar.backbone['stem'], cifar.side) == ('cifar', 32)
    assert (small.backbone['stem'], small.side) == ('imagenet', 64)
    assert (large.backbone, large.side, large.load_from) == ({'arch': '121'}, 224, None)
    assert choose_network(150, 'none').side == 128
    with pytest.raises(UserError, match='images of 64 pixels get a small network'):
        choose_network(64, 'imagenet')
    monkeypatch.setattr('mmdensenet.apis.fit.network.read_checkpoint', _no_network)
    with pytest.raises(UserError, match=r'ImageNet weights cannot be had .no route to host.*weights=none') as error:
        choose_network(300, None)
    assert '\n' not in str(error.value)


def _no_network(path):
    raise OSError('no route to host')


def test_weights_of_a_file_bring_their_network(tmp_path):
    import torch

    from mmdensenet.models import DenseNet

    net = DenseNet(arch=dict(growth_rate=8, depths=(2, 2), init_channels=16), in_channels=3, stem='cifar')
    file = tmp_path / 'own.pth'
    torch.save({f'backbone.{key}': value for key, value in net.state_dict().items()}, file)
    found = choose_network(48, str(file))
    assert found.backbone == dict(arch=dict(growth_rate=8, depths=(2, 2), init_channels=16), stem='cifar')
    assert (found.features, found.side, found.load_from) == (32, 48, str(file))
    with pytest.raises(UserError, match=r'none\.pth'):
        choose_network(48, str(tmp_path / 'none.pth'))
