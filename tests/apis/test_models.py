import logging

import pytest
import torch
from conftest import CONFIGS, DIGITS
from foreign_models import randomise
from mmengine.config import Config
from mmengine.logging import MMLogger

import mmdensenet
from mmdensenet.apis import models
from mmdensenet.checkpoints.checkpoint_file import sha256
from mmdensenet.errors import UserError

SMALL = 'densenet-bc-l40-k12'


def test_list_models():
    everything = mmdensenet.list_models()
    assert set(everything) == {file.stem for file in CONFIGS.glob('*.py')}
    assert mmdensenet.list_models('*bc*') == [name for name in everything if 'bc' in name]
    assert mmdensenet.list_models('nothing*') == []


@pytest.mark.parametrize('name', [SMALL, f'{SMALL}_1xb64_cifar10', f'mmdensenet::{SMALL}_1xb64_cifar10.py'])
def test_get_model_by_name(name):
    model = mmdensenet.get_model(name)
    assert not model.training and sum(p.numel() for p in model.parameters()) == 176_122
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 10)
    assert model._dataset_meta['classes'][0] == 'airplane'


def test_get_model_of_a_config_leaves_it_alone():
    cfg = Config.fromfile(DIGITS)
    before = cfg.pretty_text
    model = mmdensenet.get_model(cfg, num_classes=4, in_channels=2)
    assert cfg.pretty_text == before
    assert model(torch.randn(2, 2, 8, 8)).shape == (2, 4)


def test_a_head_is_loaded_whole_or_starts_anew(tmp_path):
    theirs = randomise(mmdensenet.get_model(SMALL)).state_dict()
    del theirs['head.fc.bias']
    torch.save(dict(state_dict=theirs), tmp_path / 'w.pth')
    with pytest.raises(UserError, match=r'head\.fc\.bias is missing'):
        mmdensenet.get_model(SMALL, str(tmp_path / 'w.pth'))
    model = mmdensenet.get_model(SMALL, str(tmp_path / 'w.pth'), num_classes=10)
    assert not torch.equal(model.head.fc.weight, theirs['head.fc.weight'])
    assert torch.equal(model.backbone.stem[0].weight, theirs['backbone.stem.0.weight'])


def test_get_model_logs_no_line_for_each_parameter():
    lines = []
    handler = logging.Handler(logging.INFO)
    handler.emit = lines.append
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.addHandler(handler)
    try:
        mmdensenet.get_model(str(DIGITS))
    finally:
        logger.removeHandler(handler)
    assert lines == [] and logger.level == level


def test_weights_classes_and_channels(tmp_path):
    theirs = randomise(mmdensenet.get_model(SMALL))
    torch.save(dict(state_dict=theirs.state_dict()), tmp_path / 'w.pth')
    same = mmdensenet.get_model(SMALL, str(tmp_path / 'w.pth'))
    image = torch.randn(2, 1, 32, 32)
    assert torch.equal(same(image.expand(2, 3, 32, 32)), theirs(image.expand(2, 3, 32, 32)))
    grey = mmdensenet.get_model(SMALL, str(tmp_path / 'w.pth'), in_channels=1)
    assert (grey(image) - theirs(image.expand(2, 3, 32, 32))).abs().max() < 1e-4
    assert len(grey.data_preprocessor.mean) == 1
    three = mmdensenet.get_model(SMALL, str(tmp_path / 'w.pth'), num_classes=3)
    assert three(torch.randn(1, 3, 32, 32)).shape == (1, 3)
    assert torch.equal(three.backbone.stem[0].weight, theirs.backbone.stem[0].weight)
    assert three._dataset_meta['classes'] is None, "CIFAR-10's names are not those of the three classes"


def test_classes_of_the_checkpoint(tmp_path):
    meta = dict(dataset_meta=dict(classes=('cat', 'dog')), cfg="open('RAN', 'w')", config="open('RAN', 'w')")
    state = mmdensenet.get_model(SMALL, num_classes=2).state_dict()
    torch.save(dict(meta=meta, state_dict=state), tmp_path / 'w.pth')
    assert mmdensenet.get_model(SMALL, str(tmp_path / 'w.pth'), num_classes=2)._dataset_meta['classes'] == [
        'cat',
        'dog',
    ]


def test_mistakes(tmp_path):
    with pytest.raises(UserError, match=r'densenet12 does not exist\. Did you mean densenet1'):
        mmdensenet.get_model('densenet12')
    with pytest.raises(UserError, match='has no published weights; these have: densenet121_4xb256_in1k, densenet169'):
        mmdensenet.get_model(SMALL, pretrained=True)
    with pytest.raises(UserError, match=r'gone\.pth does not exist'):
        mmdensenet.get_model(SMALL, 'gone.pth')
    with pytest.raises(UserError, match='num_classes=0'):
        mmdensenet.get_model(SMALL, num_classes=0)
    with pytest.raises(UserError, match='in_channels=0'):
        mmdensenet.get_model(SMALL, in_channels=0)
    torch.save(dict(state_dict=mmdensenet.get_model(SMALL, num_classes=5).state_dict()), tmp_path / 'w.pth')
    with pytest.raises(UserError, match='trained for 5 classes'):
        mmdensenet.get_model(SMALL, str(tmp_path / 'w.pth'))
    with pytest.raises(UserError, match=r'is \(24, 3, 3, 3\), not \(24, 1, 3, 3\)'):
        cfg = Config.fromfile(CONFIGS / f'{SMALL}_1xb64_cifar10.py')
        cfg.model.backbone.in_channels = 1
        cfg.model.head.num_classes = 5
        mmdensenet.get_model(cfg, str(tmp_path / 'w.pth'))


@pytest.fixture
def published(tmp_path, monkeypatch):
    """The weights of a model of the zoo, behind a network that serves them, or fails."""
    torch.save(dict(state_dict=randomise(mmdensenet.get_model(SMALL)).state_dict()), tmp_path / 'w.pth')
    digest = sha256(tmp_path / 'w.pth')[:8]
    row = dict(Name=f'{SMALL}_1xb64_cifar10', Weights=f'https://example.invalid/densenet_20220426-{digest}.pth')
    monkeypatch.setattr(models, '_zoo', lambda: [row])
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
    served = []

    def download(url, target, hash_prefix=None, progress=True):
        served.append(url)
        assert url == row['Weights'] and hash_prefix == digest
        (tmp_path / 'w.pth').replace(target)

    monkeypatch.setattr(torch.hub, 'download_url_to_file', download)
    return served


def test_pretrained_downloads_once(published):
    first = mmdensenet.get_model(SMALL, pretrained=True)
    second = mmdensenet.get_model(SMALL, pretrained=True)
    assert len(published) == 1
    assert torch.equal(first.head.fc.weight, second.head.fc.weight)


def test_pretrained_without_network_says_where_to_put_the_file(published, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError('no network')

    monkeypatch.setattr(torch.hub, 'download_url_to_file', fail)
    place = str(tmp_path / 'hub' / 'checkpoints' / 'densenet_20220426-')
    with pytest.raises(UserError, match='put it at ' + place):
        mmdensenet.get_model(SMALL, pretrained=True)
