"""Strides, channels and shapes of backbones, which are not given any weights."""

import pytest
from backbones import BACKBONES
from mmengine.registry import MODELS

from mmdensenet.apis.fit.network_facts import facts_of, short_arguments
from mmdensenet.errors import UserError


@pytest.mark.parametrize('name', BACKBONES)
def test_every_backbone(name):
    backbone, neck = BACKBONES[name]
    built = MODELS.build(dict(backbone))
    channels = built.out_channels[-1]
    neck = dict(type='GlobalAveragePooling') if neck is None else dict(type=neck, in_channels=channels)
    found = facts_of(backbone, neck, 'it')
    assert found.features == channels
    assert found.shapes == {key: value.shape for key, value in built.state_dict().items()}
    assert found.stride == (16 if name == 'RDNet' else 8) and found.batch_norm == ('DenseNet' in name)
    assert short_arguments(dict(backbone), found) == backbone, 'no paper has these numbers'


def test_named_arguments_are_short():
    arch = dict(growth_rate=32, depths=(6, 12, 32, 32), init_channels=64)
    long = dict(type='mmdensenet.DenseNet', arch=arch, bn_size=4, stem='imagenet', stem_blur=False, drop_rate=0.2)
    facts = facts_of(long, dict(type='GlobalAveragePooling'), 'it')
    assert short_arguments(long, facts) == dict(type='mmdensenet.DenseNet', arch='169', drop_rate=0.2)


def test_what_cannot_be_built_or_run():
    with pytest.raises(UserError, match=r'^it: the network cannot be built: .*stem_blur'):
        facts_of(
            dict(type='mmdensenet.DenseNet', stem_blur=True, stem='cifar'), dict(type='GlobalAveragePooling'), 'it'
        )
    with pytest.raises(UserError, match=r'^it: the network cannot be built: '):
        facts_of(dict(type='mmdensenet.DenseNet'), dict(type='mmdensenet.NormedAveragePooling', in_channels=7), 'it')
