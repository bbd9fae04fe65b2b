"""A checkpoint is deleted after its successor is saved."""

import os
from types import SimpleNamespace

import pytest
from mmengine.hooks import CheckpointHook
from mmengine.logging import MessageHub
from mmengine.runner.checkpoint import save_checkpoint

from mmdensenet.checkpoints.keep_checkpoints import remove_outdated


class FakeRunner(SimpleNamespace):
    def __init__(self, folder, fail_at=None):
        super().__init__(
            work_dir=str(folder), message_hub=MessageHub.get_instance('fake'), epoch=0, iter=0, fail_at=fail_at
        )
        self.logger = SimpleNamespace(info=lambda *_: None)

    def save_checkpoint(self, out_dir, filename, *args, **kwargs):
        if self.fail_at is not None and self.fail_at in filename:
            raise OSError('disk full')
        save_checkpoint(dict(state_dict={}), os.path.join(out_dir, filename))


def names(folder):
    return sorted(f for f in os.listdir(folder) if f.endswith('.pth'))


def hook(folder, **kwargs):
    made = CheckpointHook(out_dir=str(folder), **kwargs)
    made.before_train(FakeRunner(folder))
    made.out_dir = str(folder)
    return made


def test_the_old_checkpoint_goes_when_the_new_one_is_there(tmp_path):
    made, runner = hook(tmp_path, max_keep_ckpts=1), FakeRunner(tmp_path, fail_at='epoch_3')
    for step in (1, 2):
        made._save_checkpoint_with_step(runner, step, {})
        assert names(tmp_path) == [f'epoch_{step}.pth']
    with pytest.raises(OSError):
        made._save_checkpoint_with_step(runner, 3, {})
    assert names(tmp_path) == ['epoch_2.pth']


def test_the_previous_best_goes_when_the_new_best_is_there(tmp_path):
    made, runner = hook(tmp_path, save_best='acc', rule='greater'), FakeRunner(tmp_path, fail_at='best_acc_epoch_3')
    for epoch, score in ((1, 50.0), (2, 60.0), (2, 55.0)):
        runner.epoch = epoch
        made._save_best_checkpoint(runner, dict(acc=score))
        assert names(tmp_path) == [f'best_acc_epoch_{epoch}.pth']
    runner.epoch = 3
    with pytest.raises(OSError):
        made._save_best_checkpoint(runner, dict(acc=70.0))
    assert names(tmp_path) == ['best_acc_epoch_2.pth']
    assert made.best_ckpt_path.endswith('best_acc_epoch_2.pth')


def test_several_best_checkpoints(tmp_path):
    made, runner = hook(tmp_path, save_best=['a', 'b'], rule='greater'), FakeRunner(tmp_path)
    for epoch, a, b in ((1, 1.0, 9.0), (2, 2.0, 8.0)):
        runner.epoch = epoch
        made._save_best_checkpoint(runner, dict(a=a, b=b))
    assert names(tmp_path) == ['best_a_epoch_2.pth', 'best_b_epoch_1.pth']


def test_only_files_of_this_run_are_deleted(tmp_path):
    """The path of the best checkpoint comes from the resumed checkpoint, which may be another run's or hostile."""
    victim = tmp_path / 'other' / 'best_acc_epoch_9.pth'
    victim.parent.mkdir()
    victim.touch()
    folder = tmp_path / 'mine'
    folder.mkdir()
    made, runner = hook(folder, save_best='acc', rule='greater'), FakeRunner(folder)
    made.best_ckpt_path = str(victim)
    runner.epoch = 1
    made._save_best_checkpoint(runner, dict(acc=50.0))
    assert victim.exists()
    assert names(folder) == ['best_acc_epoch_1.pth']


@pytest.mark.parametrize('indicators', [['acc'], ['acc', 'auroc']])
def test_a_resumed_run_deletes_what_it_was_about_to_delete(tmp_path, indicators):
    made, runner = hook(tmp_path, save_best=indicators, rule='greater', max_keep_ckpts=1), FakeRunner(tmp_path)
    for name in ('best_acc_epoch_1', 'best_acc_epoch_2', 'mine', 'epoch_1', 'epoch_2'):
        (tmp_path / f'{name}.pth').touch()
    best = str(tmp_path / 'best_acc_epoch_2.pth')
    if len(indicators) == 1:
        made.best_ckpt_path = best
    else:
        made.best_ckpt_path_dict.update(acc=best, auroc=None)
    made.keep_ckpt_ids.append(2)
    outdated = [str(tmp_path / f'{name}.pth') for name in ('best_acc_epoch_1', 'best_acc_epoch_2', 'mine')]
    runner.message_hub.update_info('outdated_best_ckpts', outdated)
    for step, left in ((2, ['epoch_1.pth', 'epoch_2.pth', 'mine.pth']), (1, ['epoch_2.pth', 'mine.pth'])):
        runner.message_hub.update_info('outdated_ckpt', step)
        remove_outdated(made, runner)
        assert names(tmp_path) == ['best_acc_epoch_2.pth', *left]


def test_in_a_store_only_files_of_this_run_are_deleted(tmp_path):
    made, runner, removed = hook(tmp_path, save_best='acc', rule='greater'), FakeRunner(tmp_path), []
    made.out_dir = 's3://bucket/mine/'
    made.file_backend = SimpleNamespace(isfile=lambda path: True, remove=removed.append)
    paths = [f's3://bucket/{folder}/best_acc_epoch_1.pth' for folder in ('mine', 'other', 'mine/deeper')]
    runner.message_hub.update_info('outdated_best_ckpts', paths)
    remove_outdated(made, runner)
    assert removed == paths[:1]
