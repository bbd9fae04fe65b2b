"""A resumed run ends with the weights of the uninterrupted one. The kills are in tests/tools/test_kills.py."""

import os
import signal
from types import SimpleNamespace

import pytest
import torch
from conftest import DIGITS, SHORT
from helpers import assert_equal, load_weights
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from mmdensenet.apis import train_model
from mmdensenet.errors import UserError
from mmdensenet.ops.show_engine import kernel_variant
from mmdensenet.training import hooks, resume_state

RUN = """
model['backbone']['drop_rate'] = 0.3
train_dataloader['num_workers'] = {workers}
default_hooks['exact_resume'] = dict(type='mmdensenet.ExactResumeHook', interval=2)
default_hooks['checkpoint'] = dict(interval=1, max_keep_ckpts=-1, save_best='auto')
default_hooks['curves'] = dict(type='Point', _delete_=True)
custom_hooks = [dict(type='EMAHook', momentum=0.1)]
"""


@HOOKS.register_module()
class Point(Hook):
    """Calls ``action`` in the middle of a run; keeps what the model sees."""

    priority = 'HIGHEST'
    action = None
    seen: list

    def before_train(self, runner):
        Point.seen = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        Point.seen.append((batch_idx, data_batch['inputs'].clone()))

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.act(runner, f'train {runner.iter + 1}')

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.act(runner, f'val {runner.epoch}')

    def act(self, runner, point):
        if Point.action is not None:
            Point.action(runner, point)


@pytest.fixture(autouse=True)
def no_action():
    Point.action = None
    yield
    Point.action = None


def at(point, do):
    def action(runner, here):
        if here == point:
            do()

    Point.action = action


class Died(Exception):  # noqa: N818
    """Leaves the same files as a kill."""


def die():
    raise Died


def train_until(point, config, work_dir):
    """Train, and die there."""
    at(point, die)
    with pytest.raises(Died):
        train_model(str(config), work_dir=str(work_dir))
    Point.action = None


def parts(file):
    loaded = torch.load(file, weights_only=True)
    return {key: loaded[key] for key in ('state_dict', 'ema_state_dict', 'optimizer')}, loaded


@pytest.fixture(scope='module')
def straight(tmp_path_factory):
    """The uninterrupted run: two epochs of three batches."""
    folder = tmp_path_factory.mktemp('straight')
    (folder / 'short.py').write_text(SHORT.format(digits=str(DIGITS), images=24, extra=RUN.format(workers=0)))
    train_model(str(folder / 'short.py'), work_dir=str(folder / 'w'))
    assert not list((folder / 'w').glob('resume_*')), 'checkpoints inside epochs go when training ends'
    batches = [batch for _, batch in Point.seen]
    return folder / 'w/epoch_2.pth', batches


@pytest.mark.parametrize(
    ('workers', 'point', 'how', 'left', 'first'),
    [
        (2, 'train 5', die, 'resume_iter_4.pth', 4),
        (0, 'train 3', die, 'resume_iter_2.pth', 2),
        (0, 'train 1', lambda: os.kill(os.getpid(), signal.SIGTERM), 'resume_iter_1.pth', 1),
        (0, 'train 6', lambda: os.kill(os.getpid(), signal.SIGINT), 'resume_iter_6.pth', 6),
        (0, 'val 1', die, 'epoch_1.pth', 3),
        (0, 'val 1', lambda: os.kill(os.getpid(), signal.SIGTERM), 'resume_iter_3.pth', 3),
        (0, 'val 2', die, 'epoch_2.pth', 6),
    ],
    ids=['step-workers', 'end-of-epoch', 'sigterm', 'ctrl-c', 'val', 'val-sigterm', 'last-val'],
)
def test_resumed_equals_uninterrupted(short_config, tmp_path, straight, workers, point, how, left, first):
    config, work_dir = str(short_config(RUN.format(workers=workers))), tmp_path / 'w'
    at(point, how)
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with pytest.raises((Died, SystemExit)) as stop:
        train_model(config, work_dir=str(work_dir))
    if stop.type is SystemExit:
        assert stop.value.code in (128 + signal.SIGTERM, 128 + signal.SIGINT)
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == handlers
    assert (work_dir / left).is_file()
    Point.action = None
    runner = train_model(config, work_dir=str(work_dir), resume='auto')
    assert os.path.samefile(os.path.dirname(runner.cfg.load_from), work_dir)
    assert os.path.basename(runner.cfg.load_from) == left

    expected, whole = parts(straight[0])
    found, other = parts(work_dir / 'epoch_2.pth')
    assert_equal(found, expected)
    assert_equal(other['param_schedulers'], whole['param_schedulers'])
    assert_equal(other['exact_resume'], whole['exact_resume'])
    infos = [loaded['message_hub']['runtime_info'] for loaded in (other, whole)]
    assert infos[0]['best_score'] == infos[1]['best_score']
    best = [os.path.basename(info['best_ckpt']) for info in infos]
    assert best[0] == best[1]
    files = work_dir / best[0], straight[0].parent / best[0]
    assert_equal(*map(load_weights, files))
    assert [index for index, _ in Point.seen] == [0, 1, 2, 0, 1, 2][first:]
    assert_equal([batch for _, batch in Point.seen], straight[1][first:])
    assert not list(work_dir.glob('resume_*'))


def test_a_random_seed_is_restored(short_config, tmp_path):
    """And with it the order of the data: mmengine's sampler would draw a new seed."""
    config = short_config(RUN.format(workers=0) + '\nrandomness = dict(seed=None, _delete_=True)')
    train_model(str(config), work_dir=str(tmp_path / 'a'))
    train_model(str(config), work_dir=str(tmp_path / 'b'), resume=str(tmp_path / 'a/epoch_1.pth'))
    assert_equal(parts(tmp_path / 'b/epoch_2.pth')[0], parts(tmp_path / 'a/epoch_2.pth')[0])


def test_another_variant_of_the_kernels_is_logged(short_config, tmp_path, straight, monkeypatch):
    before = torch.load(straight[0], weights_only=False)['meta']['kernel_variant']
    assert before == (kernel_variant() or 'plain')
    monkeypatch.setattr(resume_state, 'kernel_variant', lambda: 'sse9')
    train_model(str(short_config(RUN.format(workers=0))), work_dir=str(tmp_path / 'w'), resume=str(straight[0]))
    [log] = (tmp_path / 'w').rglob('*.log')
    assert (
        f'trained with the kernels {before}, and this run uses sse9: it continues exactly to rounding'
        in log.read_text()
    )


@pytest.mark.parametrize('sampler', ['InfiniteSampler', 'DefaultSampler'])
@pytest.mark.parametrize('workers', [0, pytest.param(1, marks=pytest.mark.slow)])
def test_loops_by_iterations(short_config, tmp_path, sampler, workers):
    config = short_config(
        RUN.format(workers=workers)
        + f"""
train_dataloader['sampler'] = dict(type={sampler!r}, shuffle=True)
train_cfg = dict(by_epoch=False, max_iters=8, val_interval=4, _delete_=True)
param_scheduler = dict(type='LinearLR', by_epoch=False, end=6, _delete_=True)
default_hooks['checkpoint'].update(by_epoch=False, interval=4)
log_processor = dict(by_epoch=False)
"""
    )
    train_model(str(config), work_dir=str(tmp_path / 'a'))
    for point in ('train 5', 'val 0'):
        train_until(point, config, tmp_path / point)
        train_model(str(config), work_dir=str(tmp_path / point), resume='auto')
        found, whole = parts(tmp_path / point / 'iter_8.pth')
        expected, other = parts(tmp_path / 'a/iter_8.pth')
        assert_equal(found, expected)
        assert_equal(whole['exact_resume'], other['exact_resume'])
        infos = [loaded['message_hub']['runtime_info'] for loaded in (whole, other)]
        assert infos[0]['best_score'] == infos[1]['best_score']


@pytest.mark.parametrize(
    ('counts', 'point', 'left'), [(4, 'train 4', 'resume_iter_3.pth'), (4, 'val 1', 'epoch_1.pth')]
)
def test_accumulated_gradients_are_not_lost(short_config, tmp_path, counts, point, left):
    """Three batches an epoch, a step every four: an epoch ends in the middle of a step."""
    extra = f"\noptim_wrapper['accumulative_counts'] = {counts}\ndefault_hooks['exact_resume']['interval'] = 3"
    config = short_config(
        'optim_wrapper = dict()\n' + RUN.format(workers=0) + extra + '\ntrain_cfg = dict(max_epochs=3)'
    )
    train_model(str(config), work_dir=str(tmp_path / 'a'))
    train_until(point, config, tmp_path / 'b')
    assert (tmp_path / 'b' / left).is_file()
    train_model(str(config), work_dir=str(tmp_path / 'b'), resume='auto')
    (found, whole), (expected, other) = (parts(tmp_path / run / 'epoch_3.pth') for run in 'ba')
    assert_equal(found, expected)
    pending = whole['exact_resume']['gradients']
    assert_equal(pending, other['exact_resume']['gradients'])
    between = torch.load(tmp_path / 'a/epoch_1.pth', weights_only=True)['exact_resume']['gradients']
    assert between[0]['head.fc.weight'].any() and not pending[0], 'the last step takes what is left'


@pytest.mark.parametrize('point', ['train 8', 'val 2'])
def test_the_patience_of_early_stopping(short_config, tmp_path, point):
    """Nothing counts as better, so the run ends with the third validation; without the state with the fifth."""
    extra = "\ncustom_hooks.append(dict(type='EarlyStoppingHook', monitor='accuracy/top1', min_delta=1000, patience=2))"
    config = str(short_config(RUN.format(workers=0) + extra + '\ntrain_cfg = dict(max_epochs=6)'))
    train_model(config, work_dir=str(tmp_path / 'a'))
    train_until(point, config, tmp_path / 'b')
    train_model(config, work_dir=str(tmp_path / 'b'), resume='auto')
    names = [sorted(file.name for file in (tmp_path / run).glob('epoch_*')) for run in 'ab']
    assert names == [['epoch_1.pth', 'epoch_2.pth', 'epoch_3.pth']] * 2
    found, expected = (torch.load(tmp_path / run / 'epoch_3.pth', weights_only=True) for run in 'ba')
    assert_equal(found['exact_resume'], expected['exact_resume'])
    assert expected['exact_resume']['early_stopping'][0]['wait_count'] == 1, 'saved before the third validation'


def test_a_new_best_is_seen_by_early_stopping_before_it_is_saved(short_config, tmp_path, monkeypatch):
    """Scores of 1, 5, 2 and so on; the kill comes when the checkpoint of the best has been written again."""
    scores = dict(enumerate((0.1, 0.2, 0.5, 0.1, 0.1, 0.1, 0.1, 0.1), 1))
    monkeypatch.setattr(
        'mmpretrain.evaluation.Accuracy.evaluate',
        lambda self, size: {'accuracy/top1': scores[Point.runner.epoch]},
    )
    monkeypatch.setattr(Point, 'before_run', lambda self, runner: setattr(Point, 'runner', runner), raising=False)
    extra = "\ncustom_hooks.append(dict(type='EarlyStoppingHook', monitor='accuracy/top1', patience=2))"
    config = str(short_config(RUN.format(workers=0) + extra + '\ntrain_cfg = dict(max_epochs=8)'))
    train_model(config, work_dir=str(tmp_path / 'a'))
    train_until('train 10', config, tmp_path / 'b')  # nothing is written between the third validation and here
    saved = torch.load(tmp_path / 'b/epoch_3.pth', weights_only=True)['exact_resume']
    assert saved['validated'] and saved['early_stopping'] == [dict(best_score=0.5, wait_count=0)]
    train_model(config, work_dir=str(tmp_path / 'b'), resume='auto')
    for run in 'ab':
        assert max(int(file.stem[6:]) for file in (tmp_path / run).glob('epoch_*')) == 5


def test_what_was_about_to_be_deleted_is_deleted(short_config, tmp_path, monkeypatch):
    from mmdensenet.checkpoints import keep_checkpoints

    config = short_config(
        RUN.format(workers=0).replace('max_keep_ckpts=-1', 'max_keep_ckpts=1') + '\ntrain_cfg = dict(max_epochs=3)'
    )
    remove = keep_checkpoints._remove
    monkeypatch.setattr(keep_checkpoints, '_remove', lambda hook, path: die())
    with pytest.raises(Died):
        train_model(str(config), work_dir=str(tmp_path / 'w'))
    assert len(list((tmp_path / 'w').glob('epoch_*'))) == 2 or len(list((tmp_path / 'w').glob('best_*'))) == 2
    (tmp_path / 'w/epoch_77.pth').write_bytes(b"somebody's own")
    monkeypatch.setattr(keep_checkpoints, '_remove', remove)
    train_model(str(config), work_dir=str(tmp_path / 'w'), resume='auto')
    assert sorted(file.name for file in (tmp_path / 'w').glob('epoch_*')) == ['epoch_3.pth', 'epoch_77.pth']
    assert len(list((tmp_path / 'w').glob('best_*'))) == 1


def test_minutes(short_config, tmp_path):
    config = short_config(RUN.format(workers=0).replace('interval=2', 'minutes=1e-9'))
    written = []
    at('train 4', lambda: written.extend(path.name for path in (tmp_path / 'w').glob('resume_*')))
    train_model(str(config), work_dir=str(tmp_path / 'w'))
    assert written == ['resume_iter_3.pth']


def test_the_minutes_count_from_the_last_checkpoint_of_any_kind(short_config, tmp_path, monkeypatch):
    """An epoch takes 57 seconds: its checkpoint restarts the minute. The 100 s before training do not count."""
    clock, written = [0.0], []
    monkeypatch.setattr(Point, 'before_run', lambda self, runner: clock.append(clock.pop() + 100), raising=False)
    monkeypatch.setattr('mmdensenet.training.hooks.exact_resume_hook.time.monotonic', lambda: clock[0])

    def action(runner, point):
        written.extend((tmp_path / 'w').glob('resume_*'))
        clock[0] += 19 * point.startswith('train')

    Point.action = action
    config = short_config(RUN.format(workers=0).replace('interval=2', 'minutes=1') + '\ntrain_cfg = dict(max_epochs=3)')
    train_model(str(config), work_dir=str(tmp_path / 'w'))
    assert clock[0] == 100 + 9 * 19 and not written


def test_the_minutes_count_from_the_end_of_a_save(tmp_path, monkeypatch):
    """Else a run that writes for longer than ``minutes`` would save after every iteration."""
    clock = [0.0]
    monkeypatch.setattr('mmdensenet.training.hooks.exact_resume_hook.time.monotonic', lambda: clock[0])
    hook = hooks.ExactResumeHook(minutes=1)
    runner = SimpleNamespace(
        **dict(train_loop=None, hooks=[], epoch=0, work_dir=str(tmp_path), call_hook=lambda name: None),
        save_checkpoint=lambda *args, **kwargs: clock.append(clock.pop() + 61),
    )
    hook._save(runner, iter=1)
    assert not hook._minutes_are_over()
    clock[0] += 61
    assert hook._minutes_are_over()


@pytest.mark.parametrize('value', [dict(interval=0), dict(minutes=-1), dict(agree_interval=0)])
def test_wrong_intervals(value):
    with pytest.raises(UserError, match='must be above 0, or None'):
        hooks.ExactResumeHook(**value)


def test_other_batches_inside_an_epoch_are_refused(short_config, tmp_path):
    config = str(short_config(RUN.format(workers=0)))
    train_until('train 5', config, tmp_path / 'w')
    options = {'train_dataloader.batch_size': 4}
    with pytest.raises(UserError, match='inside an epoch of 3 batches, and there are 6 now'):
        train_model(config, work_dir=str(tmp_path / 'w'), resume='auto', cfg_options=options)
    file = str(tmp_path / 'w/epoch_1.pth')
    train_model(config, work_dir=str(tmp_path / 'w'), resume=file, cfg_options=options)


def test_files_that_are_passed_over_are_named(check_tool, short_config, tmp_path):
    config, work_dir = short_config(), tmp_path / 'w'
    check_tool('train.py', config, '--work-dir', work_dir)
    for path in work_dir.glob('epoch_2.pth'):
        os.truncate(path, 1000)
    done = check_tool('train.py', config, '--work-dir', work_dir, '--resume')
    assert 'epoch_2.pth is passed over: it is cut short or not a checkpoint' in done.out
    assert 'resumed epoch: 1, iter: 3' in done.out


def test_an_invalid_state_is_refused(run_tool, short_config, tmp_path, straight):
    """More invalid states are in tests/training/test_resume_state.py and test_random_state.py."""
    config, work_dir = short_config(RUN.format(workers=0)), tmp_path / 'w'
    saved = torch.load(straight[0].with_name('epoch_1.pth'), weights_only=True)
    saved['exact_resume'].update(random=[dict(python=1)])
    torch.save(saved, tmp_path / 'invalid.pth')
    done = run_tool('train.py', config, '--work-dir', work_dir, '--resume', tmp_path / 'invalid.pth')
    assert done.status == 2 and "is not one of mmdensenet's" in done.err, done.err
