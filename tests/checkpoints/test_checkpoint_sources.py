"""Checkpoints from anywhere go through our reader: URLs, files and every scheme of mmengine's."""

import os
import shutil
import sys
from functools import partial
from types import ModuleType, SimpleNamespace

import pytest
import torch
from file_server import served
from hostile import CODE, Calls
from mmengine.runner import checkpoint as theirs
from mmengine.runner.checkpoint import CheckpointLoader

from mmdensenet.checkpoints.checkpoint_file import sha256
from mmdensenet.checkpoints.checkpoint_sources import load_from_url, local_copy
from mmdensenet.errors import UserError


@pytest.fixture
def web(tmp_path, monkeypatch):
    """A server of ``tmp_path / 'web'`` on this machine; torch's cache is beside it."""
    folder = tmp_path / 'web'
    folder.mkdir()
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    with served(folder) as url:
        yield SimpleNamespace(folder=folder, url=url)


def save(file, value=1.0):
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save(dict(state_dict={'a': torch.full((2,), value)}), file)
    return file


def value_of(loaded):
    return loaded['state_dict']['a'][0].item()


def test_download_is_checked_cached_and_read_as_data(web, tmp_path):
    source = save(web.folder / 'source.pth')
    name = f'model_20220426-{sha256(source)[:8]}.pth'
    good = source.rename(web.folder / name)
    assert value_of(load_from_url(f'{web.url}/{name}', progress=False)) == 1
    good.unlink()
    assert value_of(load_from_url(f'{web.url}/{name}', progress=False)) == 1, 'from the cache'
    assert (tmp_path / 'hub/checkpoints' / name).is_file(), 'where the pages say to put it by hand'

    save(web.folder / 'model-00000000.pth')
    with pytest.raises(UserError, match='put the right file at'):
        load_from_url(f'{web.url}/model-00000000.pth', progress=False)
    with pytest.raises(UserError, match='Download it elsewhere and put it at'):
        load_from_url(f'{web.url}/none.pth', progress=False)


def test_urls_of_one_name_are_several_files(web):
    for value, folder in enumerate('ab'):
        save(web.folder / folder / 'model.pth', value)
    assert [value_of(load_from_url(f'{web.url}/{folder}/model.pth', progress=False)) for folder in 'ab'] == [0, 1]
    assert local_copy('http://h/model.safetensors').suffix == '.safetensors'
    assert local_copy('http://h/a-20220426.pth').name != 'a-20220426.pth', 'a date, no hash'


@pytest.mark.parametrize('load', [load_from_url, lambda url: CheckpointLoader.load_checkpoint(url, logger='silent')])
def test_file_urls_are_read_where_they_are(tmp_path, monkeypatch, load):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
    for value, folder in enumerate(('a', 'ü b')):
        file = save(tmp_path / folder / 'model.pth', value)
        assert value_of(load(file.as_uri())) == value
    save(file, 5)
    assert value_of(load(file.as_uri())) == 5, 'the file as it is now'
    assert not (tmp_path / 'hub').exists()
    with pytest.raises(UserError, match='does not exist'):
        load((tmp_path / 'none.pth').as_uri())
    with pytest.raises(UserError, match='is a folder'):
        load(tmp_path.as_uri())


@pytest.fixture
def everywhere(web, tmp_path, monkeypatch):
    """Every scheme of mmengine's leads to one file, whose path is returned."""
    file = web.folder / 'model.pth'

    class Client:
        def __init__(self, *args, **kwargs):
            pass

        def Get(self, *args, **kwargs):  # noqa: N802
            return file.read_bytes()

        get = Get

    petrel, pavi = ModuleType('petrel_client'), ModuleType('pavi')
    petrel.client = ModuleType('petrel_client.client')
    petrel.client.Client = Client
    remote = SimpleNamespace(name='model.pth', download=partial(shutil.copy, file))
    pavi.modelcloud = SimpleNamespace(get=lambda name: remote)
    for module in (petrel, petrel.client, pavi):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    names = {'model': f'{web.url}/model.pth', 'local': str(file)}
    for function in ('get_external_models', 'get_torchvision_models', 'get_mmcls_models'):
        monkeypatch.setattr(theirs, function, lambda: names)
    return file


def address(scheme: str, file, web) -> str:
    if scheme == '':
        return str(file)
    if scheme == 'file://':
        return file.as_uri()
    if scheme.startswith('http'):
        return f'{web.url}/model.pth'
    scheme = scheme.replace(r'(\S+\:)?', '')
    return scheme + ('bucket/model.pth' if scheme in ('s3://', 'petrel://') else 'model')


SCHEMES = sorted(CheckpointLoader._schemes)


def test_the_schemes_are_those_that_are_known():
    assert {'', 'http://', 'pavi://', 'torchvision://', 'modelzoo://', 'openmmlab://', 'mmcls://'} < set(SCHEMES)


@pytest.mark.parametrize('scheme', SCHEMES)
def test_every_scheme_ends_in_our_reader(scheme, everywhere, web, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = address(scheme, everywhere, web)

    def load():
        return CheckpointLoader.load_checkpoint(source, map_location='cpu', logger='silent')

    hub = dict(log_scalars={}, runtime_info=dict(cfg=CODE), resumed_keys={})
    content = dict(meta=dict(cfg=CODE, config=CODE), message_hub=hub, state_dict={'backbone.a': torch.ones(1)})
    torch.save(content, everywhere)
    loaded = load()
    assert loaded['state_dict'], 'it is read'
    assert not {'cfg', 'config'} & set(loaded.get('meta', ()))
    assert 'cfg' not in loaded.get('message_hub', dict(runtime_info={}))['runtime_info']

    torch.save(dict(a=Calls(os.system, 'touch RAN')), everywhere)
    for cached in (tmp_path / 'hub/checkpoints').glob('*'):
        cached.unlink()
    with pytest.raises(UserError, match='could run code'):
        load()
    assert not (tmp_path / 'RAN').exists()


def test_a_file_of_the_name_table(everywhere):
    save(everywhere)
    assert value_of(CheckpointLoader.load_checkpoint('open-mmlab://local', logger='silent')) == 1


def test_schemes_that_are_registered_later(monkeypatch):
    monkeypatch.setattr(CheckpointLoader, '_schemes', dict(CheckpointLoader._schemes))
    CheckpointLoader.register_scheme('mine://', lambda name, map_location: dict(meta=dict(cfg=CODE), state_dict={}))
    assert CheckpointLoader.load_checkpoint('mine://x', logger='silent')['meta'] == dict(cfg_text=CODE)
    CheckpointLoader.register_scheme('objects://', lambda name, map_location: dict(a=object()))
    with pytest.raises(UserError, match='objects://x holds more than plain data'):
        CheckpointLoader.load_checkpoint('objects://x', logger='silent')


@pytest.mark.parametrize(
    ('source', 'message'),
    [
        ('s3://b/c.pth', 's3://b/c.pth cannot be read: .*petrel_client.*copy the file here'),
        ('petrel://b/c.pth', 'cannot be read: .*petrel_client'),
        ('pavi://c', 'cannot be read: .*pavi.*copy the file here'),
        ('modelzoo://no_such_model', 'modelzoo knows no model no_such_model'),
        ('torchvision://no_such_model', 'torchvision knows no model no_such_model'),
        ('open-mmlab://no_such_model', 'open-mmlab knows no model no_such_model'),
        ('mmcls://no_such_model', 'mmcls knows no model no_such_model'),
        ('nosuch://a/b.pth', 'does not exist, or its scheme nosuch:// is not known'),
    ],
)
def test_what_cannot_be_fetched_is_said(source, message):
    with pytest.raises(UserError, match=message):
        CheckpointLoader.load_checkpoint(source, logger='silent')


def test_a_folder_for_weights_that_cannot_be_made(tmp_path, monkeypatch):
    (tmp_path / 'file').touch()
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'file'))
    with pytest.raises(UserError, match=r'file/checkpoints cannot be made \(.+\)\. Let TORCH_HOME name a folder'):
        load_from_url('http://localhost/a-0123456789ab.pth')
