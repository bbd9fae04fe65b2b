"""Checkpoints are written as plain data, and the older file stays until the new one is whole."""

import os
from collections import OrderedDict

import pytest
import torch
from helpers import assert_same
from mmengine.logging import HistoryBuffer
from mmengine.runner.checkpoint import CheckpointLoader, save_checkpoint
from plain_checkpoints import assert_restored, checkpoint

from mmdensenet.checkpoints import writing
from mmdensenet.checkpoints.checkpoint import load_from_file
from mmdensenet.checkpoints.writing import to_plain


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


def test_what_can_be_resumed_and_whose_it_is(monkeypatch):
    written = []
    monkeypatch.setattr(writing, 'write_whole', lambda plain, file, **facts: written.append(facts))
    for one in (dict(optimizer={}, meta=dict(run_id='a')), dict(meta=dict(run_id='b')), dict(meta=3), ['optimizer']):
        writing.save_whole(one, 'file')
    assert written == [
        dict(resumable=True, run='a'),
        dict(resumable=False, run='b'),
        dict(resumable=False, run=None),
        dict(resumable=False, run=None),
    ]


def test_elsewhere_than_in_files_mmengine_writes(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(writing, 'save_whole', lambda checkpoint, file: written.append(file))
    file = str(tmp_path / 'a.pth')
    save_checkpoint(checkpoint(), file, backend_args=dict(backend='local'))
    assert torch.load(file, weights_only=True)['message_hub']['runtime_info']['names'] == ['u', 'v']
    with pytest.raises(Exception, match='nowhere'):
        save_checkpoint(checkpoint(), 'nowhere://a.pth')
    assert not written
    save_checkpoint(checkpoint(), file)
    assert written == [file]


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
