"""RDNet's weights of timm and of the authors: recognised, renamed, compared, and loaded where mmengine loads them."""

import copy
from contextlib import nullcontext

import pytest
import torch
from helpers import randomise
from mmengine.config import Config
from torch import nn

from mmdensenet import get_model
from mmdensenet.convert import convert_checkpoint, convert_state_dict, to_torchvision
from mmdensenet.convert.on_load import fit_checkpoint
from mmdensenet.errors import UserError
from mmdensenet.models import RDNet

ARCH = dict(growth_rates=(8, 16, 8), downsample=(2,), init_channels=16, depths=(3, 2, 3), ese=(False, True, True))


@pytest.fixture
def theirs():
    """A small RDNet of timm with random weights, for two classes."""
    timm = pytest.importorskip('timm', reason='timm is not installed (requirements/peers.txt)')
    model = timm.models.rdnet.RDNet(
        num_classes=2,
        growth_rates=ARCH['growth_rates'],
        num_blocks_list=ARCH['depths'],
        block_type=('Block', 'BlockESE', 'BlockESE'),
        is_downsample_block=(None, False, True),
        num_init_features=16,
    )
    return randomise(model).eval()


def authors(state: dict) -> dict:
    """Under the authors' names, and in their container."""
    return dict(
        model={key.replace('stem.', 'stem.stem.') if key[:5] == 'stem.' else key: v for key, v in state.items()}
    )


@pytest.mark.parametrize('layout', ['timm', "RDNet's authors"])
def test_layouts_and_architecture(theirs, layout):
    state = theirs.state_dict()
    converted, report = convert_state_dict(state if layout == 'timm' else authors(state))
    assert report.layout.name == layout and not report.left and not report.missing
    arch = report.architecture
    assert arch.backbone()['arch'] == ARCH and arch.num_classes == 2 and arch.name == 'RDNet'
    assert converted['neck.norm.weight'] is state['head.norm.weight']
    ours, again = convert_state_dict(converted)
    assert ours.keys() == converted.keys() and again.architecture == arch
    with pytest.raises(ValueError, match='torchvision has no RDNet'):
        to_torchvision(converted)


@pytest.mark.parametrize('kind', ['tiny', 'small'])
def test_published_sizes_have_their_names(kind):
    with torch.device('meta'):
        shapes = {f'backbone.{key}': value.shape for key, value in RDNet(kind).state_dict().items()}
    state = {key: torch.zeros(()).expand(shape) for key, shape in shapes.items()}
    _, report = convert_state_dict(state)
    assert report.architecture.name == f'RDNet-{kind}'
    assert report.notes == ['there is no head: it starts anew']


@pytest.mark.parametrize('layout', ['timm', 'authors'])
def test_file_is_verified_and_has_its_provenance(theirs, layout, tmp_path):
    state = theirs.state_dict()
    torch.save(state if layout == 'timm' else authors(state), tmp_path / 'theirs.pth')
    report = convert_checkpoint(str(tmp_path / 'theirs.pth'), str(tmp_path / 'ours.pth'), verify=[])
    assert 'from timm' in report.verified
    written = torch.load(tmp_path / 'ours.pth', weights_only=True)
    assert written['meta']['architecture'] == 'RDNet'
    RDNet(**written['meta']['backbone'])
    with pytest.raises(UserError, match='torchvision has no RDNet'):
        convert_checkpoint(str(tmp_path / 'theirs.pth'), str(tmp_path / 'tv.pth'), to='torchvision')
    with pytest.raises(UserError, match='our own layout'):
        convert_checkpoint(str(tmp_path / 'ours.pth'), str(tmp_path / 'again.pth'), verify=[])


@pytest.mark.parametrize('layout', ['timm', 'authors'])
@pytest.mark.parametrize('bare', [False, True], ids=['inside a model', 'the backbone alone'])
def test_fits_where_a_checkpoint_is_loaded(theirs, layout, bare):
    """A bare backbone's first key is timm's too: stem.0.weight."""
    backbone = RDNet(ARCH, in_channels=1)
    model = backbone
    if not bare:
        model = nn.Module()
        model.backbone = backbone
    state = theirs.state_dict()
    checkpoint = copy.deepcopy(dict(state) if layout == 'timm' else authors(state))
    assert fit_checkpoint(model, checkpoint)
    missing, _ = model.load_state_dict(checkpoint['state_dict'], strict=False)
    assert not missing
    assert torch.equal(backbone.stem[0].weight, state['stem.0.weight'].sum(1, keepdim=True))
    assert torch.equal(
        backbone.stages[1].blocks[1].ese.fc.bias, state['dense_stages.1.2.dense_block1.layers.layers.5.fc.bias']
    )
    assert not fit_checkpoint(model, dict(state_dict=model.state_dict())), 'our own names stay'


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(), None),
        (dict(neck=dict(type='GlobalAveragePooling')), r'does not have: neck\.norm\.weight, neck\.norm\.bias'),
        (dict(backbone=dict(layer_scale_init_value=0.0)), r'does not have: backbone\.stages\.0\.blocks\.0\.gamma'),
        (dict(backbone=dict(arch=dict(ARCH, ese=(False,) * 3))), r'backbone\.stages\.1\.blocks\.0\.ese\.fc\.weight'),
    ],
    ids=['same', 'no norm', 'no layer scale', 'no ese'],
)
@pytest.mark.parametrize('layout', ['timm', 'ours'])
def test_a_model_without_some_of_its_layers_is_refused(theirs, tmp_path, layout, change, message):
    """All tensors of the model are there, and its logits would be others."""
    state = theirs.state_dict() if layout == 'timm' else convert_state_dict(theirs.state_dict())[0]
    torch.save(dict(state_dict=state), tmp_path / 'theirs.pth')
    features = theirs.head.fc.in_features
    model = dict(
        type='ImageClassifier',
        backbone=dict(dict(type='mmdensenet.RDNet', arch=ARCH), **change.get('backbone', {})),
        neck=change.get('neck', dict(type='mmdensenet.NormedAveragePooling', in_channels=features)),
        head=dict(type='LinearClsHead', num_classes=2, in_channels=features),
    )
    config = Config(dict(default_scope='mmpretrain', model=model))
    with nullcontext() if message is None else pytest.raises(UserError, match=message):
        get_model(config, str(tmp_path / 'theirs.pth'))
    get_model(config, str(tmp_path / 'theirs.pth'), num_classes=3)


def test_norm_of_a_model_without_a_head_is_kept(theirs):
    """timm's with num_classes=0, whose features are behind the norm."""
    theirs.reset_classifier(0)
    images = torch.randn(2, 3, 32, 32)
    converted, report = convert_state_dict(theirs.state_dict())
    assert not report.left and not report.missing and report.notes == ['there is no head: it starts anew']
    ours = nn.Module()
    ours.backbone, ours.neck = (module.eval() for module in report.architecture.modules())
    ours.load_state_dict(converted)
    with torch.no_grad():
        torch.testing.assert_close(ours.neck(ours.backbone(images))[0], theirs(images))


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda s: s.pop('dense_stages.1.2.dense_block0.layers.layers.4.weight'), 'pwconv2.weight is missing'),
        (lambda s: s.pop('dense_stages.2.2.dense_block2.gamma'), r'missing: backbone\.stages\.2\.blocks\.2\.gamma'),
        (
            lambda s: s.update({'dense_stages.0.0.dense_block0.extra': torch.ones(1)}),
            r'left: dense_stages\.0\.0.*extra',
        ),
        (lambda s: s.update({'stem.0.weight': torch.ones(16, 3, 7, 7)}), r'7x7: an RDNet.s is 4x4'),
    ],
)
def test_incomplete_and_foreign_tensors_are_named(theirs, change, message):
    state = dict(theirs.state_dict())
    change(state)
    with pytest.raises(UserError, match=message):
        convert_state_dict(state)
