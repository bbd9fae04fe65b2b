"""--resume uses the newest intact checkpoint of the run that started last in a folder."""

import json
import os
import shutil

import pytest
import torch
from conftest import clear_state
from helpers import assert_equal, load_weights
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner.checkpoint import save_checkpoint

from mmdensenet.apis import train_model
from mmdensenet.checkpoints.checkpoint_file import inspect_file, write_whole
from mmdensenet.checkpoints.work_dir import FILE, Run, begin_run, checkpoint_to_resume, newest_that_verifies, read_run
from mmdensenet.errors import UserError
from mmdensenet.training.launch import LAUNCH_TIME


def save(folder, name, run=None):
    """A checkpoint with the id of a run."""
    meta = dict(run_id=run.id) if run else {}
    save_checkpoint(dict(meta=meta, state_dict=dict(a=torch.ones(1000)), optimizer={}), str(folder / name))
    return folder / name


def test_the_newest_intact_one_is_used_and_the_others_are_named(tmp_path):
    assert newest_that_verifies(tmp_path) == (None, [])
    assert newest_that_verifies(tmp_path / 'none') == (None, [])
    files = [save(tmp_path, name) for name in ('epoch_9.pth', 'epoch_1.pth', 'resume_iter_5.pth')]
    write_whole(dict(state_dict={}), tmp_path / 'best_x_epoch_1.pth')  # the newest, but of weights only
    (tmp_path / 'last_checkpoint').write_text(str(files[0]))
    for path in reversed(files):  # the order of writing counts, not that of names or of copying
        os.utime(path)
    found, passed = newest_that_verifies(tmp_path)
    assert (found.path, passed) == (files[2], [])
    os.truncate(files[2], 500)
    files[1].write_bytes(b'')
    found, passed = newest_that_verifies(tmp_path)
    assert found.path == files[0]
    assert {path for path, _ in passed} == {files[1], files[2]}
    assert all('cut short' in reason for _, reason in passed)


def test_checkpoints_of_another_folder_are_found_through_last_checkpoint(tmp_path):
    (tmp_path / 'work').mkdir()
    file = save(tmp_path / 'elsewhere', 'e1.pth')
    (tmp_path / 'work/last_checkpoint').write_text(str(file))
    assert newest_that_verifies(tmp_path / 'work')[0].path == file


def test_mmengines_runner_finds_the_same(tmp_path):
    from mmengine.runner import find_latest_checkpoint

    old, new = save(tmp_path, 'epoch_1.pth'), save(tmp_path, 'epoch_2.pth')
    (tmp_path / 'last_checkpoint').write_text(str(new))
    assert find_latest_checkpoint(str(tmp_path)) == str(new)
    os.truncate(new, 100)
    assert find_latest_checkpoint(str(tmp_path)) == str(old)


def test_last_checkpoint_after_a_loss_of_power(tmp_path, monkeypatch):
    """It is not flushed: zeros may be all that is left of it. They name no folder, the current one least of all."""
    (tmp_path / 'w').mkdir()
    save(tmp_path, 'epoch_7.pth')
    monkeypatch.chdir(tmp_path)
    for content in (bytes(40), b'', b'\xff\xfe'):
        (tmp_path / 'w/last_checkpoint').write_bytes(content)
        assert newest_that_verifies('w') == (None, [])


def test_a_new_run_does_not_go_on_from_an_older_one(tmp_path):
    old = begin_run(tmp_path)
    files = [save(tmp_path, name, old) for name in ('epoch_1.pth', 'epoch_2.pth')]
    assert begin_run(tmp_path, str(files[1])) == old, 'going on is the same run'
    assert checkpoint_to_resume(tmp_path)[0].path == files[1]
    new = begin_run(tmp_path)
    found, passed = checkpoint_to_resume(tmp_path)
    assert found is None and [path for path, _ in passed] == [files[1]]
    assert passed[0][1] == (
        f'it and 1 older ones are of another run than the last one in this folder; resume {files[1]} to go on from it'
    )
    own = save(tmp_path, 'epoch_1.pth', new)
    assert checkpoint_to_resume(tmp_path)[0].path == own and not checkpoint_to_resume(tmp_path)[1]
    os.truncate(own, 100)
    found, passed = checkpoint_to_resume(tmp_path)
    assert found is None and [path.name for path, _ in passed] == ['epoch_1.pth', 'epoch_2.pth']


def test_a_run_that_resumes_from_a_named_checkpoint(tmp_path):
    """Its past are the checkpoints before that one, not those after it."""
    old = begin_run(tmp_path)
    files = [save(tmp_path, f'epoch_{i}.pth', old) for i in (1, 2, 3)]
    run = begin_run(tmp_path, str(files[1]))
    assert run.id != old.id and begin_run(tmp_path, str(files[1])) == run == read_run(tmp_path)
    found, passed = checkpoint_to_resume(tmp_path)
    assert found.path == files[1] and [path for path, _ in passed] == [files[2]]
    own = save(tmp_path, 'resume_iter_9.pth', run)
    os.utime(own, (0, 0))
    assert checkpoint_to_resume(tmp_path)[0].path == own
    os.truncate(own, 100)
    os.truncate(files[1], 100)
    assert checkpoint_to_resume(tmp_path)[0].path == files[0]
    again = begin_run(tmp_path, str(files[0]))
    assert again.owns(inspect_file(files[0])) and not again.owns(inspect_file(files[2]))


def test_the_checkpoint_of_another_folder(tmp_path):
    file = save(tmp_path / 'a', 'epoch_1.pth', begin_run(tmp_path / 'a'))
    begin_run(tmp_path / 'b', str(file))
    assert checkpoint_to_resume(tmp_path / 'b')[0].path == file
    file.unlink()
    with pytest.raises(UserError, match=rf'went on from {file} and has no checkpoint .*\nGive it again: resume='):
        checkpoint_to_resume(tmp_path / 'b')
    run = begin_run(tmp_path / 'b', 'https://x/y.pth')
    with pytest.raises(UserError, match=r'resume=https://x/y\.pth'):
        checkpoint_to_resume(tmp_path / 'b')
    own = save(tmp_path / 'b', 'epoch_2.pth', run)
    assert checkpoint_to_resume(tmp_path / 'b')[0].path == own


def test_checkpoints_without_an_id(tmp_path):
    """Those of mmengine, and of mmdensenet before it had ids."""
    old = tmp_path / 'epoch_1.pth'
    torch.save(dict(state_dict={}, optimizer={}), old)
    newer = save(tmp_path, 'epoch_2.pth')
    assert checkpoint_to_resume(tmp_path)[0].path == newer
    run = begin_run(tmp_path, str(newer))
    assert run.line[0][0] is None and checkpoint_to_resume(tmp_path)[0].path == newer, 'killed before it has its own'
    own = save(tmp_path, 'epoch_3.pth', run)
    assert checkpoint_to_resume(tmp_path)[0].path == own
    os.truncate(own, 50)
    assert checkpoint_to_resume(tmp_path)[0].path == newer
    begin_run(tmp_path)
    assert checkpoint_to_resume(tmp_path)[0] is None
    begin_run(tmp_path, str(old))
    os.utime(old)  # as a copy has it: newer than all others
    assert checkpoint_to_resume(tmp_path)[0].path == old


def test_copies_of_folders(tmp_path):
    first = tmp_path / 'first'
    run = begin_run(first)
    save(first, 'epoch_1.pth', run)
    shutil.copytree(first, tmp_path / 'copy')
    last = save(first, 'epoch_2.pth', run)
    for folder in (first, tmp_path / 'copy'):
        (folder / 'last_checkpoint').write_text(str(last))
    assert checkpoint_to_resume(tmp_path / 'copy')[0].path == tmp_path / 'copy/epoch_1.pth', (
        'not what went on elsewhere'
    )
    assert checkpoint_to_resume(first)[0].path == last
    (tmp_path / 'copy' / FILE).unlink()  # as if only the checkpoints were copied
    assert begin_run(tmp_path / 'copy', str(tmp_path / 'copy/epoch_1.pth')) == Run(run.id)


@pytest.mark.parametrize(
    'text', ['', '{', '[]', '{"id": 1}', '{"id": "a", "line": [[1]], "source": null}', '[' * 10000]
)
def test_a_damaged_note(tmp_path, text):
    run = begin_run(tmp_path)
    file = save(tmp_path, 'epoch_1.pth', run)
    (tmp_path / FILE).write_text(text)
    with pytest.raises(
        UserError, match=r'run\.json does not say which run .*\nGo on with resume=CHECKPOINT, or delete'
    ):
        checkpoint_to_resume(tmp_path)
    begin_run(tmp_path, str(file))
    assert checkpoint_to_resume(tmp_path)[0].path == file


def test_the_note_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    run = begin_run(tmp_path)
    steps = []
    for name in ('fsync', 'replace'):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args, name=name, real=real: (steps.append(name), real(*args)))
    other = begin_run(tmp_path)
    assert steps == ['fsync', 'replace', 'fsync'] and read_run(tmp_path) == other != run

    def full(*_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(UserError, match=r'cannot write .*run\.json: No space left on device \(\d+ bytes are needed\)'):
        begin_run(tmp_path)
    assert os.listdir(tmp_path) == [FILE] and json.loads((tmp_path / FILE).read_text())['id'] == other.id


# ---------------------------------------------------------------------------------------------------------------------
# Training


@HOOKS.register_module()
class DieAt(Hook):
    """Ends a run as a kill does: nothing is saved."""

    iteration = None
    priority = 'LOWEST'

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == DieAt.iteration:
            raise KeyError('died')


@pytest.fixture
def run(short_config, tmp_path):
    """Train two epochs of three batches in one folder; ``die=N`` dies before iteration N."""
    extra = """
default_hooks['curves'] = dict(type='DieAt', _delete_=True)
default_hooks['checkpoint'] = dict(interval=1, max_keep_ckpts=-1)
val_cfg = val_dataloader = val_evaluator = None
"""
    config = str(short_config(extra))

    def go(seed, resume=None, die=None, folder='w', options=()):
        clear_state()
        DieAt.iteration = die
        options = {'randomness.seed': seed, **dict(options)}
        if die is None:
            return train_model(config, work_dir=str(tmp_path / folder), resume=resume, cfg_options=options)
        with pytest.raises(KeyError, match='died'):
            train_model(config, work_dir=str(tmp_path / folder), resume=resume, cfg_options=options)

    yield go
    DieAt.iteration = None


def test_restarted_and_killed_before_its_first_checkpoint(run, tmp_path, capfd):
    """Resuming continues the killed run, from its beginning."""
    w = tmp_path / 'w'
    run(1, die=4)
    old = inspect_file(w / 'epoch_1.pth').run
    run(2, die=2)
    out = capfd.readouterr().out
    assert f'Checkpoints of older runs are in {w} (1)' in out
    assert inspect_file(w / 'epoch_1.pth').run == old and read_run(w).id != old
    (w / 'resume_iter_4.pth').write_bytes((w / 'epoch_1.pth').read_bytes())  # inside an epoch of the old one

    runner = run(2, resume='auto')
    out = capfd.readouterr().out
    assert 'of another run than the last one in this folder' in out and not runner.cfg.resume
    run(2, folder='straight')
    for epoch in (1, 2):
        name = f'epoch_{epoch}.pth'
        assert_equal(load_weights(w / name), load_weights(tmp_path / 'straight' / name))
    assert (w / 'resume_iter_4.pth').exists(), 'not its own'


def test_resume_in_the_config(run, tmp_path, monkeypatch):
    """Also a job that torchrun restarts, whose command names a checkpoint."""
    run(1, die=4)
    run(2, die=2)
    runner = run(2, die=None, options={'resume': True})
    assert runner.iter == 6 and torch.load(tmp_path / 'w/epoch_2.pth', weights_only=True)['meta']['seed'] == 2
    first = str(tmp_path / 'w/epoch_1.pth')
    monkeypatch.setenv(LAUNCH_TIME, repr(inspect_file(tmp_path / 'w/epoch_2.pth').time_ns / 1e9 + 1e-3))
    run(2, resume=first, die=4)
    assert checkpoint_to_resume(tmp_path / 'w')[0].path == tmp_path / 'w/epoch_1.pth', 'not the newer epoch_2.pth'
    run(2, resume=first, die=5, options={'default_hooks.exact_resume.interval': 5})
    assert os.path.basename(run(2, resume=first).cfg.load_from) == 'resume_iter_5.pth'
