"""The libraries' names of tensors, and their translation into ours and back."""

import pytest
import torch
from foreign_models import ours, published_forms, randomise, rename, torchvision_model

from mmdensenet.convert import convert_state_dict, to_torchvision
from mmdensenet.errors import UserError


@pytest.mark.parametrize('form', published_forms({}))
def test_forms_of_files(form):
    theirs = randomise(torchvision_model()).double()
    checkpoint, layout = published_forms(theirs.state_dict())[form]
    converted, report = convert_state_dict(checkpoint)
    assert report.layout.name == layout
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    assert (ours(report, converted, dtype=torch.float64)(images) - theirs(images)).abs().max() < 1e-9


def test_the_library_is_named_only_where_the_file_tells():
    state = torchvision_model().state_dict()
    forms = {name: convert_state_dict(form)[1].library for name, (form, _) in published_forms(state).items()}
    assert forms['plain'] is None and forms['legacy'] is None
    assert 'Lightning' in forms['Lightning']
    assert forms['efficient_densenet_pytorch'] == 'efficient_densenet_pytorch'
    assert forms['torchxrayvision with thresholds'] == 'torchxrayvision'
    mm = convert_state_dict(state)[0]
    for version, name in (('mmcls_version', 'mmcls'), ('mmpretrain_version', 'mmpretrain')):
        assert convert_state_dict(dict(meta={version: '0.25'}, state_dict=mm))[1].library == name
    assert convert_state_dict(mm)[1].library is None


@pytest.mark.parametrize('prefix', ['', 'module.', 'model.'])
def test_our_own_and_mmpretrains_layout(prefix):
    mine, _ = convert_state_dict(randomise(torchvision_model()).state_dict())
    again, report = convert_state_dict(rename(mine, prefix=prefix))
    assert report.layout.name == 'mmpretrain'
    assert again.keys() == mine.keys() and all(torch.equal(again[key], mine[key]) for key in mine)


def test_to_torchvision_and_back_is_the_identity():
    theirs = randomise(torchvision_model()).state_dict()
    mine, _ = convert_state_dict(theirs)
    back = to_torchvision(mine)
    assert list(back) == list(theirs)
    assert all(torch.equal(back[key], value) for key, value in theirs.items())
    torchvision_model().load_state_dict(back, strict=True)
    again, _ = convert_state_dict(back)
    assert again.keys() == mine.keys() and all(torch.equal(again[key], mine[key]) for key in mine)


def test_to_torchvision_refuses_what_it_does_not_have():
    from mmdensenet.models import DenseNet

    plain = DenseNet(arch=dict(growth_rate=4, depths=(2, 2), init_channels=8), bottleneck=False)
    with pytest.raises(ValueError, match='without bottlenecks'):
        to_torchvision({f'backbone.{key}': value for key, value in plain.state_dict().items()})
    mine, _ = convert_state_dict(torchvision_model().state_dict())
    with pytest.raises(ValueError, match=r'extra\.weight'):
        to_torchvision({**mine, 'extra.weight': torch.zeros(1)})


def test_what_is_no_densenet():
    import torchvision

    with pytest.raises(UserError, match=r'no DenseNet weights in a known layout \(first keys: conv1\.weight'):
        convert_state_dict(torchvision.models.resnet18(weights=None).state_dict())
    with pytest.raises(UserError, match='no tensors at all'):
        convert_state_dict({})
