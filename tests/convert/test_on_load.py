"""mmengine's ways of loading weights take any layout."""

from types import SimpleNamespace

import pytest
import torch
from conftest import write_images
from foreign_models import (
    CLASSES,
    DEPTHS,
    GROWTH,
    INIT,
    MODELS_OF,
    logits_of,
    published_forms,
    randomise,
    torchvision_model,
)
from mmengine.runner import load_checkpoint
from mmpretrain.registry import MODELS

from mmdensenet.convert import convert_state_dict
from mmdensenet.convert.coverage import CheckpointCoverageHook
from mmdensenet.convert.on_load import fit_checkpoint
from mmdensenet.errors import UserError
from mmdensenet.models import DenseNet

ARCH = dict(growth_rate=GROWTH, depths=DEPTHS, init_channels=INIT)


def classifier(in_channels=3, num_classes=CLASSES, **backbone):
    features = torchvision_model().classifier.in_features
    return MODELS.build(
        dict(
            type='mmpretrain.ImageClassifier',
            backbone=dict(type='mmdensenet.DenseNet', arch=ARCH, in_channels=in_channels, **backbone),
            neck=dict(type='mmpretrain.GlobalAveragePooling'),
            head=dict(type='mmpretrain.LinearClsHead', num_classes=num_classes, in_channels=features),
        )
    ).eval()


@pytest.mark.parametrize('form', published_forms({}))
def test_load_checkpoint(form, tmp_path):
    theirs = randomise(torchvision_model())
    torch.save(published_forms(theirs.state_dict())[form][0], tmp_path / 'theirs.pth')
    mine = classifier()
    load_checkpoint(mine, str(tmp_path / 'theirs.pth'), strict=True)
    images = torch.randn(2, 3, 64, 64)
    assert (logits_of(mine.eval(), images) - theirs(images)).abs().max() < 1e-4


@pytest.mark.parametrize('container', ['state_dict', 'model', 'net', 'params', 'ema_state_dict', 'model.state_dict'])
@pytest.mark.parametrize('layout', ['torchvision', 'ours', 'backbone'])
def test_containers(layout, container, tmp_path):
    """Of any name, as training scripts choose them. mmengine looks into 'state_dict' only."""
    theirs = randomise(torchvision_model())
    state = theirs.state_dict() if layout == 'torchvision' else convert_state_dict(theirs.state_dict())[0]
    if layout == 'backbone':
        state = {key.removeprefix('backbone.'): value for key, value in state.items() if key.startswith('backbone.')}
    for name in reversed(container.split('.')):
        state = dict({name: state}, epoch=3, optimizer=dict(state={0: dict(step=torch.ones(1))}))
    torch.save(state, tmp_path / 'theirs.pth')
    mine = classifier()
    load_checkpoint(mine, str(tmp_path / 'theirs.pth'))
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'theirs.pth'))
    alone = DenseNet(arch=ARCH, init_cfg=init_cfg)
    alone.init_weights()
    for backbone in (mine.backbone, alone):
        assert torch.equal(backbone.stem[0].weight, theirs.features.conv0.weight)
    assert layout == 'backbone' or torch.equal(mine.head.fc.bias, theirs.classifier.bias)


def test_pretrained_of_a_file_without_tensors_by_name(tmp_path):
    torch.save([torch.zeros(1)], tmp_path / 'list.pth')
    mine = DenseNet(arch=ARCH, init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'list.pth')))
    with pytest.raises(UserError, match=r'list\.pth holds a list, not tensors by name'):
        mine.init_weights()


@pytest.mark.parametrize('layout', ['torchvision', 'ours', 'ours, elsewhere'])
def test_a_layer_that_our_network_does_not_have(layout):
    """Without it the logits would be others. What is not between image and head has no part in them."""
    state = dict(randomise(torchvision_model()).state_dict())
    inside, outside = 'features.denseblock1.attention', 'criterion'
    if layout != 'torchvision':
        state = convert_state_dict(state)[0]
        inside = 'backbone.attention'
    prefix = 'net.' if layout == 'ours, elsewhere' else ''

    def checkpoint(**extra):
        return dict(state_dict={f'{prefix}{key}': value.clone() for key, value in {**state, **extra}.items()})

    def load(checkpoint, **options):
        hook = CheckpointCoverageHook('theirs.pth', **options)
        hook.after_load_checkpoint(SimpleNamespace(model=classifier()), checkpoint)

    harmless = {f'{inside}.total_ops': torch.zeros(1), f'{outside}.weight': torch.zeros(CLASSES)}
    load(checkpoint(**harmless))
    other = checkpoint(**{f'{inside}.weight': torch.zeros(3)})
    with pytest.raises(UserError, match=r'that this model does not have: backbone\..*attention\.weight\.\n'):
        load(other)
    load(other, head_may_differ=True)


@pytest.mark.parametrize('layout', ['torchvision', 'ours'])
def test_integers_are_no_weights(layout):
    """As of a quantised head, whose scales have other names."""
    state = dict(torchvision_model().state_dict())
    state['classifier.weight'] = state['classifier.weight'].mul(100).to(torch.int8)
    with pytest.raises(UserError, match=r'classifier\.weight is of int8, as in a quantised model'):
        convert_state_dict(state)
    state = state if layout == 'torchvision' else convert_state_dict(state, partial=True)[0]
    with pytest.raises(UserError, match=r'head\.fc\.weight is of int8'):
        fit_checkpoint(classifier(), state)


@pytest.mark.parametrize('meta', [3, ['backbone'], dict(backbone='[' * 100_000), dict(backbone=dict(norm_cfg='BN'))])
def test_metadata_of_strangers(meta):
    own = dict(state_dict=classifier().state_dict(), meta=meta)
    assert not fit_checkpoint(classifier(), own)


@pytest.mark.parametrize('eps', ['x', -1e-5, 1e300, float('nan'), [1]])
def test_an_epsilon_that_is_none(eps):
    """It would make every variance another."""
    own = dict(state_dict=classifier().state_dict(), meta=dict(backbone=dict(norm_cfg=dict(eps=eps))))
    with pytest.raises(UserError, match=r'epsilon of batch norm, meta\.backbone\.norm_cfg\.eps, is '):
        fit_checkpoint(classifier(), own)


@pytest.mark.parametrize('prefix', [None, 'backbone.', 'backbone'])
@pytest.mark.parametrize('layout', ['torchvision', 'monai', 'ours'])
def test_pretrained(layout, prefix, tmp_path):
    theirs = randomise(MODELS_OF[layout if layout != 'ours' else 'torchvision']())
    state = theirs.state_dict()
    torch.save(state if layout != 'ours' else convert_state_dict(state)[0], tmp_path / 'theirs.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'theirs.pth'), prefix=prefix)
    grey = DenseNet(arch=ARCH, in_channels=1, init_cfg=init_cfg).eval()
    grey.init_weights()
    image = torch.randn(2, 1, 64, 64)
    expected = theirs.features(image.expand(2, 3, 64, 64)).relu()
    assert (grey(image)[-1] - expected).abs().max() < 1e-4


@pytest.mark.parametrize('prefix', [None, 'backbone.'])
@pytest.mark.parametrize(
    ('given', 'message'),
    [
        (
            dict(growth_rate=GROWTH, depths=DEPTHS, init_channels=INIT + 2),
            'is of another network: stem.0.weight is .* here',
        ),
        (None, 'theirs.pth has no tensor of this backbone. `init_cfg` needs weights of this DenseNet'),
    ],
)
def test_pretrained_of_another_network_is_refused(given, message, prefix, tmp_path):
    """mmengine warns, and the backbone keeps random weights."""
    state = {'conv1.weight': torch.zeros(1)} if given is None else DenseNet(arch=given).state_dict()
    torch.save({f'backbone.{key}': value for key, value in state.items()}, tmp_path / 'theirs.pth')
    mine = DenseNet(arch=ARCH, init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'theirs.pth'), prefix=prefix))
    with pytest.raises(UserError, match=message):
        mine.init_weights()


def test_pretrained_of_the_whole_classifier(tmp_path):
    theirs = randomise(torchvision_model())
    torch.save(theirs.state_dict(), tmp_path / 'theirs.pth')
    mine = classifier(num_classes=2)
    mine.init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'theirs.pth'))
    mine._is_init = False
    mine.init_weights()
    assert torch.equal(mine.backbone.stem[0].weight, theirs.features.conv0.weight)
    assert mine.head.fc.weight.shape[0] == 2


def test_what_is_not_ours_is_left_alone():
    theirs = torchvision_model()
    checkpoint = dict(theirs.state_dict())
    assert not fit_checkpoint(torchvision_model(), checkpoint), 'a model without our backbone'
    assert checkpoint.keys() == theirs.state_dict().keys()
    other = dict(state_dict={'conv1.weight': torch.zeros(1)})
    assert not fit_checkpoint(classifier(), other) and list(other['state_dict']) == ['conv1.weight']
    own = dict(state_dict=classifier().state_dict())
    before = own['state_dict']
    assert not fit_checkpoint(classifier(), own) and own['state_dict'] is before


@pytest.fixture
def config(tmp_path):
    """A classifier with the backbone of the small torchvision model, for images in folders."""
    write_images(tmp_path / 'images', classes=CLASSES, per_class=2, size=48)
    file = tmp_path / 'tiny.py'
    file.write_text(f"""_base_ = 'mmdensenet::densenet121_4xb256_in1k.py'
model = dict(
    backbone=dict(arch=dict(_delete_=True, growth_rate={GROWTH}, depths={DEPTHS}, init_channels={INIT})),
    head=dict(in_channels={torchvision_model().classifier.in_features}, num_classes={CLASSES}, topk=(1,)),
)
data_preprocessor = dict(num_classes={CLASSES})
data = dict(_delete_=True, type='CustomDataset', data_root={str(tmp_path / 'images')!r})
train_dataloader = dict(batch_size=4, num_workers=0, dataset=dict(data, pipeline=_base_.train_pipeline))
val_dataloader = dict(batch_size=4, num_workers=0, dataset=dict(data, pipeline=_base_.test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(topk=(1,))
test_evaluator = val_evaluator
train_cfg = dict(max_epochs=1)
param_scheduler = dict(_delete_=True, type='ConstantLR', factor=1)
del data
""")
    return file


def test_tools_test(check_tool, tmp_path, config):
    """tools/test.py with torchvision's file gives what it gives with the converted one."""
    import pickle

    torch.save(randomise(torchvision_model()).state_dict(), tmp_path / 'theirs.pth')
    converted, _ = convert_state_dict(torch.load(tmp_path / 'theirs.pth', weights_only=True))
    torch.save(dict(state_dict=converted), tmp_path / 'ours.pth')
    scores = []
    for name in ('theirs', 'ours'):
        done = check_tool(
            'test.py', config, tmp_path / f'{name}.pth', '--work-dir', tmp_path / 'w', '--out', tmp_path / f'{name}.pkl'
        )
        assert ('in the layout of torchvision, converted' in done.out) == (name == 'theirs')
        with open(tmp_path / f'{name}.pkl', 'rb') as file:
            scores.append(torch.stack([sample['pred_score'] for sample in pickle.load(file)]))
    assert torch.equal(*scores) and scores[0].std() > 0.001
    check_tool('test.py', config, tmp_path / 'theirs.pth', '--tta', '--work-dir', tmp_path / 'w')


def test_tools_test_refuses_another_architecture(run_tool, tmp_path, config):
    torch.save(torchvision_model(growth_rate=GROWTH + 2).state_dict(), tmp_path / 'other.pth')
    done = run_tool('test.py', config, tmp_path / 'other.pth', '--work-dir', tmp_path / 'w')
    assert done.status == 2 and 'of another architecture' in done.err
    grey = torchvision_model(in_channels=1).state_dict()
    torch.save(grey, tmp_path / 'grey.pth')
    done = run_tool('test.py', config, tmp_path / 'grey.pth', '--work-dir', tmp_path / 'w')
    assert done.status == 2 and 'stem.0.weight is (10, 1, 7, 7), not (10, 3, 7, 7)' in done.err


@pytest.mark.parametrize('options', [[], ['--partial']], ids=['whole', 'partial'])
@pytest.mark.parametrize('layout', ['torchvision', 'ours'])
def test_load_from_with_an_average(check_tool, tmp_path, config, layout, options):
    """Of tensors alone, as torchvision's files have them. EMAHook reads the checkpoint before the model does."""
    theirs = randomise(torchvision_model())
    expected = convert_state_dict(theirs.state_dict())[0]
    torch.save(theirs.state_dict() if layout == 'torchvision' else expected, tmp_path / 'theirs.pth')
    with config.open('a') as file:
        file.write(f"""load_from = {str(tmp_path / 'theirs.pth')!r}
custom_hooks = [dict(type='EMAHook', momentum=0.1)]
optim_wrapper = dict(optimizer=dict(lr=0.0, weight_decay=0.0))
model['backbone']['norm_eval'] = True
""")
    done = check_tool('train.py', config, '--work-dir', tmp_path / 'w', '--no-validate', *options)
    assert done.out.count('layout of torchvision, converted') == (layout == 'torchvision')
    assert 'do not match' not in done.out
    trained = torch.load(tmp_path / 'w/epoch_1.pth', weights_only=True)
    for weights in (trained['state_dict'], trained['ema_state_dict']):
        weights = {key.removeprefix('module.'): value for key, value in weights.items()}
        assert all(torch.equal(weights[key], expected[key]) for key in expected if 'tracked' not in key)


def test_load_from(check_tool, tmp_path, config):
    """Fine-tuning from a grey model's weights in MONAI's layout, for other classes."""
    theirs = randomise(MODELS_OF['monai'](in_channels=1))
    torch.save(theirs.state_dict(), tmp_path / 'theirs.pth')
    options = [f'load_from={tmp_path / "theirs.pth"}', 'optim_wrapper.optimizer.lr=0.0', 'model.head.num_classes=9']
    done = check_tool('train.py', config, '--work-dir', tmp_path / 'w', '--cfg-options', *options)
    assert 'layout of MONAI, converted' in done.out and 'adapted from 1 to 3 input channels' in done.out
    trained = torch.load(tmp_path / 'w/epoch_1.pth', weights_only=True)['state_dict']
    weight = theirs.features.conv0.weight
    assert torch.allclose(trained['backbone.stem.0.weight'], weight.expand(-1, 3, -1, -1) / 3, rtol=1e-6)
