"""Checkpoints are data: mmengine's are read, ours are plain, hostile ones are refused."""

import os

import numpy as np
import pytest
import torch
from conftest import DIGITS
from hostile import REFUSED, WITH_CONFIG_TEXT, Calls, checkpoint_with_code
from mmengine.logging import HistoryBuffer
from mmengine.runner.checkpoint import save_checkpoint
from plain_checkpoints import assert_restored, checkpoint

from mmdensenet.checkpoints.checkpoint import load_from_file
from mmdensenet.errors import UserError


def test_mmengines_own_checkpoint_is_read(tmp_path):
    original = checkpoint()
    del original['message_hub']['runtime_info']['names']
    torch.save(original, tmp_path / 'theirs.pth')
    with pytest.raises(Exception, match='Weights only load failed'):
        torch.load(tmp_path / 'theirs.pth')
    assert_restored(load_from_file(str(tmp_path / 'theirs.pth')))


@pytest.mark.parametrize('dtype', ['float64', 'float32', 'float16', 'int64', 'uint8', 'bool', '>f4'])
def test_numpy_arrays_and_scalars_are_rebuilt(tmp_path, dtype):
    array = np.asfortranarray(np.arange(6).reshape(2, 3).astype(dtype))
    torch.save(dict(a=array, b=[(array[0, 1],)]), tmp_path / 'n.pth')
    loaded = load_from_file(str(tmp_path / 'n.pth'))
    assert loaded['a'].dtype == array.dtype
    assert (loaded['a'] == array).all()
    assert loaded['b'][0][0] == array[0, 1].item()


def test_a_sparse_tensor_is_refused(tmp_path):
    torch.save(dict(a=torch.eye(2).to_sparse()), tmp_path / 't.pth')
    with pytest.raises(UserError, match='unsupported kind of tensor'):
        load_from_file(str(tmp_path / 't.pth'))


def test_only_a_history_is_made_a_history(tmp_path):
    history = dict(log_history=np.array([1.5, 2]), count_history=np.array([1, 1]), max_length=5)
    others = dict(short=dict(max_length=5), long=dict(history, more=1))
    torch.save(dict(message_hub=dict(log_scalars=dict(loss=history, **others))), tmp_path / 'h.pth')
    read = load_from_file(str(tmp_path / 'h.pth'))['message_hub']['log_scalars']
    assert isinstance(read['loss'], HistoryBuffer) and read['loss'].mean() == 1.75 and read['loss'].max_length == 5
    assert read['short'] == others['short'] and set(read['long']) == set(others['long'])


CODE = ('reduce', 'eval', 'exec', 'import', 'history with code', 'array of objects', 'object of a class')


@pytest.mark.parametrize('name', CODE)
def test_code_in_a_checkpoint_is_refused(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'hostile.pth').write_bytes(REFUSED[name]())
    with pytest.raises(UserError, match=r'hostile\.pth (holds Python objects|is damaged|is not a checkpoint)'):
        load_from_file('hostile.pth')
    assert os.listdir(tmp_path) == ['hostile.pth']


def test_getattr_is_never_looked_up(tmp_path):
    """HistoryBuffer's pickle names getattr; what it would return is never made."""
    torch.save(dict(payload=Calls(getattr, 'text', 'upper')), tmp_path / 'h.pth')
    assert load_from_file(str(tmp_path / 'h.pth'))['payload'] is None


@pytest.mark.parametrize('key', ['config', 'cfg'])
def test_config_text_is_kept_but_not_under_a_name_that_is_executed(tmp_path, key):
    text = "import os\nos.system('touch RAN')"
    content = checkpoint()
    content['meta'][key] = text
    content['message_hub']['runtime_info']['cfg'] = text
    save_checkpoint(content, str(tmp_path / 'c.pth'))
    loaded = load_from_file(str(tmp_path / 'c.pth'))
    assert loaded['meta'][f'{key}_text'] == text
    assert key not in loaded['meta']
    assert 'cfg' not in loaded['message_hub']['runtime_info']


@pytest.mark.parametrize('content', [b'', b'not a checkpoint', b'PK\x03\x04 cut short'], ids=['empty', 'text', 'cut'])
def test_damaged_files_are_named(tmp_path, content):
    file = tmp_path / 'broken.pth'
    file.write_bytes(content)
    with pytest.raises(UserError, match=r'broken\.pth is (damaged|not a checkpoint)'):
        load_from_file(str(file))


def test_missing_file():
    with pytest.raises(FileNotFoundError, match=r'nowhere\.pth'):
        load_from_file('nowhere.pth')


@pytest.mark.parametrize('share', [0.0, 0.1, 0.5, 0.9, 0.99])
def test_every_cut_of_a_file_is_named(tmp_path, share):
    file = tmp_path / 'cut.pth'
    torch.save(dict(state_dict={'a': torch.randn(10_000)}), file)
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(UserError, match=r'cut\.pth is'):
        load_from_file(str(file))


@pytest.mark.parametrize('ours', [True, False], ids=['ours', "torch's"])
def test_a_changed_byte_of_a_tensor_is_found(tmp_path, ours):
    """torch reads it: it compares no checksum."""
    file = tmp_path / 'flipped.pth'
    (save_checkpoint if ours else torch.save)(dict(state_dict=dict(a=torch.full((1000,), 7.0))), str(file))
    assert load_from_file(str(file))['state_dict']['a'][0] == 7
    data = bytearray(file.read_bytes())
    data[data.index(torch.full((4,), 7.0).numpy().tobytes()) + 40] ^= 1
    file.write_bytes(data)
    torch.load(file, weights_only=True)
    with pytest.raises(UserError, match=r'flipped\.pth is damaged: its .*checksum.* Copy it again'):
        load_from_file(str(file))


def test_a_file_without_checksums_is_read(tmp_path):
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(dict(a=torch.ones(3)), tmp_path / 'none.pth')
    finally:
        torch.serialization.set_crc32_options(before)
    assert load_from_file(str(tmp_path / 'none.pth'))['a'].sum() == 3


def test_resuming_from_the_newest_reads_its_checksum_once(tmp_path, monkeypatch):
    from mmdensenet.checkpoints import checkpoint_file
    from mmdensenet.checkpoints.work_dir import newest_that_verifies

    save_checkpoint(dict(state_dict={}, optimizer={}), str(tmp_path / 'epoch_1.pth'))
    hashed = []
    compute = checkpoint_file._sha256
    monkeypatch.setattr(checkpoint_file, '_sha256', lambda *args: hashed.append(args) or compute(*args))
    found, _ = newest_that_verifies(tmp_path)
    load_from_file(str(found.path))
    assert len(hashed) == 1
    os.utime(found.path)  # it may be another file now
    load_from_file(str(found.path))
    assert len(hashed) == 2


@pytest.fixture
def with_code(tmp_path, monkeypatch):
    """A good checkpoint of the digits model with Python as its config, in an empty folder."""
    from mmengine.config import Config
    from mmpretrain.registry import MODELS

    monkeypatch.chdir(tmp_path)
    checkpoint_with_code(MODELS.build(Config.fromfile(DIGITS).model).state_dict(), tmp_path / 'code.pth')
    return tmp_path / 'code.pth'


def test_config_text_is_not_run_on_test(check_tool, with_code):
    check_tool('test.py', DIGITS, with_code, '--work-dir', 'w', '--cfg-options', 'test_dataloader.dataset.indices=9')
    assert not with_code.with_name('RAN').exists()


@pytest.mark.parametrize('resume', [[], ['w/epoch_1.pth']], ids=['auto', 'named'])
def test_config_text_is_not_run_on_resume(check_tool, resume, short_config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = short_config()
    check_tool('train.py', config, '--work-dir', 'w', '--cfg-options', 'train_cfg.max_epochs=1')
    saved = torch.load('w/epoch_1.pth', weights_only=True)
    for key in WITH_CONFIG_TEXT:
        saved['meta'][key] = "open('RAN', 'w').close()"
    torch.save(saved, 'w/epoch_1.pth')
    check_tool('train.py', config, '--work-dir', 'w', '--resume', *resume)
    assert (tmp_path / 'w/epoch_2.pth').exists() and not (tmp_path / 'RAN').exists()


def test_config_text_is_not_run_on_fine_tuning(check_tool, with_code):
    options = [f'load_from={with_code}', 'train_cfg.max_epochs=1', 'train_dataloader.dataset.indices=32']
    check_tool('train.py', DIGITS, '--work-dir', 'w', '--no-validate', '--cfg-options', *options)
    assert not with_code.with_name('RAN').exists()


@pytest.mark.parametrize('drop', [[], ['message_hub']])
def test_config_text_is_not_run_on_inference(with_code, drop):
    """mmengine's inferencers take the config from the weights where none is given, and execute it."""
    from mmengine.infer import BaseInferencer
    from mmpretrain import ImageClassificationInferencer

    content = torch.load(with_code)
    torch.save({key: value for key, value in content.items() if key not in drop}, with_code)

    class Inferencer(BaseInferencer):
        def visualize(self, *args, **kwargs): ...
        def postprocess(self, *args, **kwargs): ...
        def _init_pipeline(self, cfg):
            return None

    with pytest.raises(UserError, match='nothing in a checkpoint is executed'):
        Inferencer(weights=str(with_code), scope='mmpretrain')
    ImageClassificationInferencer(str(DIGITS), pretrained=str(with_code))
    assert not with_code.with_name('RAN').exists()
