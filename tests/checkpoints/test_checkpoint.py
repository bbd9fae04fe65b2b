"""Checkpoints are data: mmengine's are read, ours are plain, hostile ones are refused."""

import builtins
import os
from collections import OrderedDict
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import assert_same
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.runner.checkpoint import CheckpointLoader, save_checkpoint

from mmdensenet.checkpoints.checkpoint import load_from_file
from mmdensenet.checkpoints.writing import to_plain
from mmdensenet.errors import UserError


def history(values=(1.5, 2.5, -3.0)):
    return HistoryBuffer(list(values), [1] * len(values), max_length=100)


def checkpoint(**extra):
    return dict(
        meta=dict(epoch=3, iter=30, seed=np.int64(5), dataset_meta=dict(classes=('a', 'b'))),
        state_dict=torch.nn.BatchNorm2d(3).state_dict(),
        message_hub=dict(
            log_scalars=OrderedDict({'train/loss': history()}),
            runtime_info=OrderedDict(best_score=np.float32(0.5), last_ckpt='x.pth', names=np.array(['u', 'v'])),
            resumed_keys=OrderedDict({'train/loss': True}),
        ),
        **extra,
    )


def assert_restored(loaded):
    buffer = loaded['message_hub']['log_scalars']['train/loss']
    assert isinstance(buffer, HistoryBuffer)
    assert [part.tolist() for part in buffer.data] == [[1.5, 2.5, -3.0], [1, 1, 1]]
    assert buffer.max_length == 100
    assert buffer.mean() == pytest.approx(1 / 3)
    assert loaded['meta']['seed'] == 5
    assert loaded['meta']['dataset_meta'] == dict(classes=('a', 'b'))
    assert loaded['message_hub']['runtime_info']['best_score'] == 0.5
    MessageHub.get_instance('restored').load_state_dict(loaded['message_hub'])


def test_mmengines_own_checkpoint_is_read(tmp_path):
    original = checkpoint()
    del original['message_hub']['runtime_info']['names']
    torch.save(original, tmp_path / 'theirs.pth')
    with pytest.raises(Exception, match='Weights only load failed'):
        torch.load(tmp_path / 'theirs.pth')
    assert_restored(load_from_file(str(tmp_path / 'theirs.pth')))


def test_ours_is_plain_and_reads_back(tmp_path):
    file = str(tmp_path / 'ours.pth')
    save_checkpoint(checkpoint(), file)
    plain = torch.load(file, weights_only=True)
    assert plain['message_hub']['runtime_info']['names'] == ['u', 'v']
    assert plain['state_dict']._metadata[''] == dict(version=2)
    assert_restored(CheckpointLoader.load_checkpoint(file))


def test_optimizer_state_survives(tmp_path):
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.randn(4, 3)).sum().backward()
    optimizer.step()
    file = str(tmp_path / 'o.pth')
    save_checkpoint(dict(state_dict=model.state_dict(), optimizer=optimizer.state_dict()), file)
    other = torch.optim.Adam(torch.nn.Linear(3, 2).parameters())
    other.load_state_dict(load_from_file(file)['optimizer'])
    for mine, theirs in zip(other.state.values(), optimizer.state.values()):
        assert_same(mine['exp_avg'], theirs['exp_avg'], 0)


@pytest.mark.parametrize('dtype', ['float64', 'float32', 'float16', 'int64', 'uint8', 'bool', '>f4'])
def test_numpy_arrays_and_scalars_are_rebuilt(tmp_path, dtype):
    array = np.asfortranarray(np.arange(6).reshape(2, 3).astype(dtype))
    torch.save(dict(a=array, b=[(array[0, 1],)]), tmp_path / 'n.pth')
    loaded = load_from_file(str(tmp_path / 'n.pth'))
    assert loaded['a'].dtype == array.dtype
    assert (loaded['a'] == array).all()
    assert loaded['b'][0][0] == array[0, 1].item()


class Hostile:
    """Its pickle calls ``function(*args)``."""

    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    'content',
    [
        lambda: Hostile(os.system, 'touch RAN'),
        lambda: Hostile(eval, "open('RAN', 'w')"),
        lambda: Hostile(getattr(builtins, 'exec'), "open('RAN', 'w')"),  # noqa: B009
        lambda: dict(meta=Hostile(__import__, 'antigravity')),
        lambda: HistoryBufferWithCode(),
        lambda: np.array([Hostile(os.system, 'touch RAN')], dtype=object),
        lambda: SimpleNamespace(a=1),
    ],
    ids=['system', 'eval', 'exec', 'import', 'history', 'object array', 'object'],
)
def test_code_in_a_checkpoint_is_refused(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    torch.save(dict(state_dict={}, payload=content()), 'hostile.pth')
    with pytest.raises(UserError, match=r'hostile\.pth (holds Python objects|is damaged|is not a checkpoint)'):
        load_from_file('hostile.pth')
    assert not os.path.exists('RAN')


class HistoryBufferWithCode:
    def __reduce__(self):
        return HistoryBuffer, (Hostile(os.system, 'touch RAN'),)


def test_getattr_is_never_looked_up(tmp_path):
    """HistoryBuffer's pickle names getattr; what it would return is never made."""
    torch.save(dict(payload=Hostile(getattr, 'text', 'upper')), tmp_path / 'h.pth')
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


def test_truncated_checkpoint_is_named(tmp_path):
    file = tmp_path / 'cut.pth'
    torch.save(checkpoint()['state_dict'], file)
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(UserError, match=r'cut\.pth is damaged'):
        load_from_file(str(file))


def test_missing_file():
    with pytest.raises(FileNotFoundError, match=r'nowhere\.pth'):
        load_from_file('nowhere.pth')


def test_to_plain_leaves_the_original_alone():
    original = checkpoint()
    to_plain(original)
    assert isinstance(original['message_hub']['log_scalars']['train/loss'], HistoryBuffer)


def test_attributes_of_containers_are_not_carried_over(tmp_path, monkeypatch):
    """torch restores an OrderedDict's attributes: ``pop`` replaced by something else must not keep the text in."""
    monkeypatch.chdir(tmp_path)
    meta = OrderedDict(epoch=1, config="open('RAN', 'w')", cfg="open('RAN', 'w')")
    meta.pop = getattr
    torch.save(dict(meta=meta, state_dict=torch.nn.Linear(1, 1).state_dict()), 'pop.pth')
    loaded = load_from_file('pop.pth')
    assert set(loaded['meta']) == {'epoch', 'config_text', 'cfg_text'}
    assert 'pop' not in vars(loaded['meta'])
    assert loaded['state_dict']._metadata[''] == dict(version=1)


@pytest.mark.parametrize('share', [0.0, 0.1, 0.5, 0.9, 0.99])
def test_every_cut_of_a_file_is_named(tmp_path, share):
    file = tmp_path / 'cut.pth'
    torch.save(dict(state_dict={'a': torch.randn(10_000)}), file)
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(UserError, match=r'cut\.pth is'):
        load_from_file(str(file))


def test_an_older_file_stays_until_the_new_one_is_whole(tmp_path, monkeypatch):
    file = tmp_path / 'c.pth'
    save_checkpoint(dict(state_dict={'a': torch.zeros(2)}), str(file))

    def die(obj, f):
        f.write(b'half')
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, 'save', die)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(dict(state_dict={'a': torch.ones(2)}), str(file))
    assert load_from_file(str(file))['state_dict']['a'].sum() == 0
    assert os.listdir(tmp_path) == ['c.pth']


SCHEDULERS = ['OneCycleLR', 'CosineAnnealingLR', 'LinearLR', 'MultiStepLR', 'PolyLR', 'StepLR', 'ExponentialLR']


@pytest.mark.parametrize('name', SCHEDULERS)
def test_schedulers_survive(tmp_path, name):
    from mmengine.registry import PARAM_SCHEDULERS

    settings = dict(
        OneCycleLR=dict(eta_max=1.0, total_steps=10), CosineAnnealingLR=dict(T_max=10), LinearLR=dict(),
        MultiStepLR=dict(milestones=[3, 6]), PolyLR=dict(), StepLR=dict(step_size=2), ExponentialLR=dict(gamma=0.5),
    )[name]  # fmt: skip

    def build():
        optimizer = torch.optim.SGD(torch.nn.Linear(1, 1).parameters(), lr=0.1, momentum=0.9)
        scheduler = PARAM_SCHEDULERS.build(dict(type=name, **settings), default_args=dict(optimizer=optimizer))
        return optimizer, scheduler

    def rates(optimizer, scheduler, steps):
        values = []
        for _ in range(steps):
            optimizer.step()
            scheduler.step()
            values.append(optimizer.param_groups[0]['lr'])
        return values

    optimizer, scheduler = build()
    rates(optimizer, scheduler, 4)
    file = str(tmp_path / 's.pth')
    save_checkpoint(dict(optimizer=optimizer.state_dict(), param_schedulers=[scheduler.state_dict()]), file)
    expected = rates(optimizer, scheduler, 4)
    loaded = load_from_file(file)
    optimizer, scheduler = build()
    optimizer.load_state_dict(loaded['optimizer'])
    scheduler.load_state_dict(loaded['param_schedulers'][0])
    assert rates(optimizer, scheduler, 4) == expected


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
