"""A hook that makes an interrupted run equal an uninterrupted one; it saves inside epochs and on signals."""

from __future__ import annotations

import os.path as osp
import signal
import time
from pathlib import Path

import torch
from mmengine.dist import all_gather_object, all_reduce, get_world_size, is_main_process
from mmengine.hooks import CheckpointHook, EarlyStoppingHook, EMAHook, Hook
from mmengine.runner import EpochBasedTrainLoop

from mmdensenet.checkpoints.checkpoint_file import inspect_file, remove_leftovers
from mmdensenet.checkpoints.keep_checkpoints import remove_outdated
from mmdensenet.checkpoints.work_dir import Run, begin_run, checkpoints, newest_that_verifies
from mmdensenet.checkpoints.writing import RUN_KEY, to_plain
from mmdensenet.errors import UserError
from mmdensenet.registry import HOOKS
from mmdensenet.terminal import SHOWN
from mmdensenet.training.adopt_schedule import adopt_schedule
from mmdensenet.training.draws import NumberedSampler, number_draws
from mmdensenet.training.random_state import get_random_state, set_random_state
from mmdensenet.training.resume_state import (
    KEY,
    VARIANT_KEY,
    checked,
    own_buffers,
    pending_gradients,
    restore_buffers,
    restore_gradients,
    restore_position,
    validation_is_due,
    variant,
    warn_of_other_variant,
)
from mmdensenet.training.signals import StopSignals


@HOOKS.register_module()
class ExactResumeHook(Hook):
    """Make a resumed run end with the weights of the run that was never interrupted, bit for bit on a CPU.

    The hook adds to every resumable checkpoint the random state of all processes, the seeds of the sampler, the
    position inside the epoch, the accumulated gradients and running statistics of each process, the state of early
    stopping, and whether the run has already validated. It also writes checkpoints inside an epoch,
    ``resume_iter_N.pth``: every ``interval`` iterations, every ``minutes`` minutes, and on SIGTERM and Ctrl-C, which
    then end the run with status 143 and 130. It keeps the last one until training ends.

    Args:
        interval: iterations between checkpoints inside an epoch; None for no such interval.
        minutes: minutes between checkpoints inside an epoch; None for no such interval.
        agree_interval: with several processes, the iterations between which they agree on minutes and signals.

    Checkpoints inside an epoch need mmdensenet's ``EpochBasedTrainLoop`` (``train_model`` sets it), or mmengine's loop
    by iterations.
    """

    priority = 'LOWEST'  # the other hooks run before it saves after an iteration, and before it restores

    def __init__(self, interval: int | None = None, minutes: float | None = 10, agree_interval: int = 10):
        for name, value in (('interval', interval), ('minutes', minutes), ('agree_interval', agree_interval)):
            if value is not None and value <= 0:
                raise UserError(f'ExactResumeHook: {name}={value} must be above 0, or None.')
        self.interval = interval
        self.minutes = minutes
        self.agree_interval = agree_interval
        self._signals = StopSignals()
        self._saved_at = time.monotonic()
        self._validated: tuple[int, int] | None = None
        self._loaded: dict | None = None
        self._states: list[dict] | None = None
        self._sampler: NumberedSampler | None = None
        self._missed: list[int] = []
        self._run: Run | None = None  # on the rank that writes
        self._has_warned = False

    # -----------------------------------------------------------------------------------------------------------------
    # Before training

    def before_run(self, runner) -> None:
        if runner._train_loop is None or isinstance(runner._train_loop, dict):  # the run only tests
            return
        _stop_early_before_saving(runner)
        loop = runner.train_loop
        self._sampler = number_draws(loop.dataloader, runner.seed, runner.rank)
        if self._sampler is None:
            runner.logger.warning('The data loader has a batch sampler of its own: resuming is not exact.')
        if runner.val_loop is not None:
            number_draws(runner.val_loop.dataloader, runner.seed, runner.rank)

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        if not runner._resume or self._sampler is None:
            return
        self._missed = adopt_schedule(runner, checkpoint)
        warn_of_other_variant(runner, checkpoint)
        loaded = checkpoint.get(KEY)
        if loaded is None:
            runner.logger.warning('The checkpoint has no random state: the run continues, but not exactly.')
            return
        self._loaded = checked(loaded)
        self._sampler.load_state_dict(loaded['sampler'])
        if runner.val_loop is not None and isinstance(
            runner.val_loop.dataloader.batch_sampler.sampler, NumberedSampler
        ):
            runner.val_loop.dataloader.batch_sampler.sampler.seed = self._sampler.seed

    def before_train(self, runner) -> None:
        loop = runner.train_loop
        if is_main_process():
            self._run = _begin(runner)
            for folder in {runner.work_dir, *(hook.out_dir for hook in _hooks(runner, CheckpointHook))}:
                for name in remove_leftovers(folder) if osp.isdir(folder) else ():
                    runner.logger.info(f'{name} is removed: a killed process left it.', extra=SHOWN)
        self._signals.catch()
        self._saved_at = time.monotonic()
        for scheduler, steps in zip(runner.param_schedulers or (), self._missed):
            for _ in range(steps):
                scheduler.step()
        self._missed = []
        loaded, self._loaded = self._loaded, None
        if loaded is None:
            return
        _continue_checkpoint_hooks(runner)
        for hook, state in zip(_hooks(runner, EarlyStoppingHook), loaded['early_stopping']):
            hook.best_score, hook.wait_count = state['best_score'], state['wait_count']
        restore_position(loop, loaded)
        states = loaded['random']
        if len(states) == get_world_size():
            set_random_state(states[runner.rank])
            if loaded['gradients']:
                restore_gradients(runner, loaded['gradients'][runner.rank])
            if loaded['buffers']:
                restore_buffers(runner, loaded['buffers'][runner.rank])
        else:
            runner.logger.warning(
                f'{len(states)} processes wrote the checkpoint and there are {get_world_size()}: the run continues, '
                'but not exactly.'
            )
        if not loaded['validated'] and validation_is_due(runner):
            runner.logger.info('The interrupted validation is repeated.', extra=SHOWN)
            runner.val_loop.run()

    def before_train_epoch(self, runner) -> None:
        if self._sampler is not None:
            self._sampler.epoch = runner.epoch
            position = getattr(runner.train_loop, 'position', 0)
            self._sampler.start = position * (runner.train_loop.dataloader.batch_sampler.batch_size if position else 0)

    # -----------------------------------------------------------------------------------------------------------------
    # When to save

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        done = runner.iter + 1
        stop, save = self._signals.received is not None, self._minutes_are_over()
        if get_world_size() > 1:
            if done % self.agree_interval:
                stop = save = False
            else:
                flags = torch.tensor([int(stop), int(save)])
                all_reduce(flags, 'max')
                stop, save = bool(flags[0]), bool(flags[1])
        if self.interval is not None and done % self.interval == 0:
            save = True
        if save or stop:
            self._save(runner, iter=done)
        if stop:
            self._stop(runner, done)

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if runner._train_loop is None or isinstance(runner._train_loop, dict):
            return
        if self._signals.received is not None and get_world_size() == 1:
            for hook in runner.hooks:
                if isinstance(hook, EMAHook):  # restores the model's own weights
                    hook.after_val_epoch(runner)
            self._save(runner, iter=runner.iter)
            self._stop(runner, runner.iter)
        if batch_idx + 1 == len(runner.val_dataloader):
            self._validated = (runner.epoch, runner.iter)

    def after_train(self, runner) -> None:
        self.release()
        if is_main_process():
            for path in _own_files(runner, self._run):
                path.unlink(missing_ok=True)

    def release(self) -> None:
        """Restore the signal handlers that were set before training."""
        self._signals.release()

    def _minutes_are_over(self) -> bool:
        return self.minutes is not None and is_main_process() and time.monotonic() - self._saved_at > self.minutes * 60

    def _stop(self, runner, done: int) -> None:
        number = self._signals.received or signal.SIGTERM  # None if another process got the signal
        runner.logger.info(
            f'Stopped by {signal.Signals(number).name} at iteration {runner.iter}; resume the run to go on.',
            extra=SHOWN,
        )
        self.release()
        raise SystemExit(128 + number)

    # -----------------------------------------------------------------------------------------------------------------
    # What to save

    def before_collective_save(self, runner) -> None:
        """Collect the state of every rank before the first rank saves a checkpoint."""
        state = _state_of_rank(runner)
        self._states = all_gather_object(to_plain(state)) if get_world_size() > 1 else [state]

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        states, self._states = self._states, None
        if self._run is not None:
            checkpoint['meta'][RUN_KEY] = self._run.id
        checkpoint['meta'][VARIANT_KEY] = variant(runner)
        if 'optimizer' not in checkpoint or self._sampler is None:
            return
        if states is None:  # the hook that saves did not call before_collective_save
            states = [_state_of_rank(runner)] if get_world_size() == 1 else []
        loop, meta = runner.train_loop, checkpoint['meta']
        inside = isinstance(loop, EpochBasedTrainLoop) and meta['epoch'] == runner.epoch
        checkpoint[KEY] = dict(
            random=[state['random'] for state in states],
            gradients=[state['gradients'] for state in states],  # of each rank; empty between optimizer steps
            buffers=[state['buffers'] for state in states],
            sampler=self._sampler.state_dict(),
            position=getattr(loop, 'position', 0) if inside else 0,
            batches=len(loop.dataloader),
            validated=(meta['epoch'], meta['iter']) == self._validated,
            max_epochs=loop.max_epochs,
            early_stopping=[
                dict(best_score=float(hook.best_score), wait_count=hook.wait_count)
                for hook in _hooks(runner, EarlyStoppingHook)
            ],
        )
        self._saved_at = time.monotonic()

    def _save(self, runner, iter: int) -> None:
        loop = runner.train_loop
        if isinstance(loop, EpochBasedTrainLoop) and not hasattr(loop, 'position'):
            if not self._has_warned:
                runner.logger.warning(
                    "Checkpoints inside an epoch need train_cfg.type='mmdensenet.EpochBasedTrainLoop'; none is written."
                )
            self._has_warned = True
            return
        runner.call_hook('before_collective_save')
        folder, name = _folder(runner), f'resume_iter_{iter}.pth'
        meta = dict(epoch=runner.epoch, iter=iter)
        runner.save_checkpoint(folder, name, meta=meta, by_epoch=False)
        self._saved_at = time.monotonic()
        if is_main_process():
            for path in _own_files(runner, self._run):
                if path.name != name:
                    path.unlink(missing_ok=True)


def _state_of_rank(runner) -> dict:
    return dict(random=get_random_state(), gradients=pending_gradients(runner), buffers=own_buffers(runner))


def _hooks(runner, kind: type) -> list:
    return [hook for hook in runner.hooks if isinstance(hook, kind)]


def _stop_early_before_saving(runner) -> None:
    """Run EarlyStoppingHook before CheckpointHook, which writes the checkpoint of a new best after a validation.

    Their priorities give the opposite order, in which that checkpoint would lack the validation's score.
    """
    hooks = runner._hooks
    early = _hooks(runner, EarlyStoppingHook)
    first = next((i for i, hook in enumerate(hooks) if isinstance(hook, CheckpointHook)), len(hooks))
    if any(hook in hooks[first:] for hook in early):
        others = [hook for hook in hooks if hook not in early]
        # a new list, because the runner is iterating over the old one
        runner._hooks = [*others[:first], *early, *others[first:]]


def _folder(runner) -> str:
    return next((hook.out_dir for hook in _hooks(runner, CheckpointHook)), runner.work_dir)


def _begin(runner) -> Run:
    """Register the run in its work directory, before it writes a file."""
    source = None
    if runner._resume and runner._has_loaded:
        found = None if runner._load_from else newest_that_verifies(runner.work_dir)[0]
        source = osp.expanduser(runner._load_from) if found is None else str(found.path)
    elif number := len(checkpoints(runner.work_dir)):
        runner.logger.warning(
            f'Checkpoints of older runs are in {runner.work_dir} ({number}): this run overwrites those of the same '
            'names, and resuming takes the checkpoints of this run only.'
        )
    return begin_run(runner.work_dir, source)


def _own_files(runner, run: Run) -> list[Path]:
    folder = _folder(runner)
    files = [] if '://' in folder else Path(folder).glob('resume_iter_*.pth')
    # no run can use a truncated file
    return [path for path in files if run.owns(written := inspect_file(path)) or written.sha256 is None]


def _continue_checkpoint_hooks(runner) -> None:
    """Restore each hook's last file, which a repeated validation may update, and delete what it was about to delete."""
    last = runner.message_hub.runtime_info.get('last_ckpt')
    for hook in _hooks(runner, CheckpointHook):
        is_of_hook = isinstance(last, str) and osp.dirname(osp.abspath(last)) == osp.abspath(hook.out_dir)
        if hook.last_ckpt is None and is_of_hook:
            hook.last_ckpt = last
        remove_outdated(hook, runner)
