"""Kill a training run again and again, resume it, and compare what it ends with.

The run has everything that a resumed run can get wrong: augmentation in workers and in the main process, dropout,
momentum, a warm-up by iterations, EMA, validation, a best checkpoint. It is made small, and forked from a process that
has imported everything, so that a kill costs two seconds.

    python tests/scripts/kill_loop.py --kills 200
"""

import argparse
import contextlib
import hashlib
import importlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

import mmengine
import torch

CONFIG = """
_base_ = {digits!r}
model = dict(
    backbone=dict(arch=dict(growth_rate=4, depths=(1, 2), init_channels=8), drop_rate=0.2),
    head=dict(in_channels=14, cal_acc=False, loss=dict(type='CrossEntropyLoss', use_soft=True)),
    train_cfg=dict(augments=dict(type='Mixup', alpha=0.3)))
train_dataloader = dict(batch_size=8, num_workers={workers}, persistent_workers=True, dataset=dict(indices=44))
val_dataloader = dict(batch_size=8, dataset=dict(indices=40))
test_dataloader = dict(batch_size=8, dataset=dict(indices=40))
train_cfg = dict(max_epochs=4)
optim_wrapper = dict(accumulative_counts=4)  # six batches an epoch: in the middle where an epoch ends
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=9),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=1, end=4, T_max=3)]
default_hooks = dict(
    logger=dict(interval=1),
    checkpoint=dict(interval=1, max_keep_ckpts={keep}, save_best='auto'),
    curves=dict(_delete_=True, type='Fault'),  # no picture
    exact_resume=dict(type='mmdensenet.ExactResumeHook', interval=2))
custom_hooks = [
    dict(type='EMAHook', momentum=0.1),
    dict(type='EarlyStoppingHook', monitor='accuracy/top1', patience=10)]
"""
ROOT = Path(__file__).resolve().parents[2]
#: what can happen: the point at which a process is struck, the first and the last time that it may be, and the blow;
#: `make test` goes through the first five
FAULTS = {
    'step': ('iteration', 1, 8, signal.SIGKILL),
    'save': ('write', 1, 300, signal.SIGKILL),
    'validation': ('validation', 1, 8, signal.SIGKILL),
    'sigterm': ('iteration', 1, 8, signal.SIGTERM),
    'worker': ('iteration', 2, 8, 'worker'),
    'clock': None,  # after some time, wherever it is
    'rename': ('renamed', 1, 4, signal.SIGKILL),
    'delete': ('delete', 1, 2, signal.SIGKILL),
    'last': ('validation', 1, 8, signal.SIGTERM),
    'interrupt': ('iteration', 1, 8, signal.SIGINT),
    'torn': ('iteration', 3, 8, signal.SIGKILL),  # and the file system has lost the end of the newest checkpoint
    'group': ('iteration', 1, 8, 'group'),
}
#: statuses of a run that was killed, or stopped by a signal that it caught; without a worker it ends with
#: an error, and is itself killed where it has none
ENDINGS = (-signal.SIGKILL, 128 + signal.SIGTERM, 128 + signal.SIGINT)


class Plan:
    """The fault of a child process: kill it at the ``count``-th time that it comes to a point."""

    point: str | None = None
    count = 0
    how = signal.SIGKILL

    @classmethod
    def reach(cls, point: str) -> None:
        if point != cls.point:
            return
        cls.count -= 1
        if cls.count == 0:
            if cls.how == 'worker':
                victims = [child for child in multiprocessing.active_children() if child.daemon]
                os.kill(victims[-1].pid if victims else os.getpid(), signal.SIGKILL)
            elif cls.how == 'group':  # as slurm and a terminal do
                for child in multiprocessing.active_children():
                    os.kill(child.pid, signal.SIGTERM)
                os.kill(os.getpid(), signal.SIGTERM)
            else:
                os.kill(os.getpid(), cls.how)


def install() -> None:
    """Put the points into mmengine's hooks and into what writes checkpoints."""
    from mmengine.hooks import Hook
    from mmengine.registry import HOOKS

    from mmdensenet.checkpoints import checkpoint_file, keep_checkpoints, work_dir

    @HOOKS.register_module(force=True)
    class Fault(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            Plan.reach('iteration')

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            Plan.reach('iteration')

        def before_val_epoch(self, runner):
            Plan.reach('validation')

        def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            Plan.reach('validation')

        def after_val_epoch(self, runner, metrics=None):
            Plan.reach('validation')

    def before(module, name: str, point: str) -> None:
        function = getattr(module, name)

        def reaching(*args, **kwargs):
            Plan.reach(point)
            return function(*args, **kwargs)

        setattr(module, name, reaching)

    before(checkpoint_file._Sink, '_put', 'write')
    before(checkpoint_file, 'flush_folder', 'renamed')
    before(work_dir, 'flush_folder', 'renamed')
    before(keep_checkpoints, '_remove', 'delete')


def train(config: Path, work_dir: Path, log: Path) -> None:
    """Run, or go on with, the training; in a forked process."""
    with log.open('a') as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    from mmdensenet.apis import train_model

    train_model(str(config), work_dir=str(work_dir), resume='auto')


def start(config: Path, work_dir: Path, log: Path, point: str | None = None, count: int = 0, how=signal.SIGKILL) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        Plan.point, Plan.count, Plan.how = point, count, how
        train(config, work_dir, log)
        status = 0
    except SystemExit as stop:
        status = stop.code
    except BaseException as error:  # the parent reads the log
        with log.open('a') as file:
            file.write(''.join(traceback.format_exception(error)))
    finally:
        sys.stdout.flush()
        for child in multiprocessing.active_children():
            child.kill()
        os._exit(status)


def wait(pid: int, seconds: float | None = None) -> int:
    """Status of a child, as a shell has it. After ``seconds`` it is killed."""
    if seconds is not None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.01)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def strike(kind: str, rng: random.Random, config: Path, work_dir: Path, log: Path) -> int:
    """Train until a fault of this kind happens; the status with which the process ended."""
    if FAULTS[kind] is None:
        return wait(start(config, work_dir, log), rng.uniform(0, 2))
    point, first, last, how = FAULTS[kind]
    status = wait(start(config, work_dir, log, point, rng.randint(first, last), how))
    if kind == 'group':
        assert status in (0, 128 + signal.SIGTERM), f'not saved: {status}'
    if kind == 'torn':
        files = sorted(work_dir.glob('[re]*.pth'), key=lambda path: path.stat().st_mtime_ns)
        if status and len(files) > 1:
            os.truncate(files[-1], rng.randrange(files[-1].stat().st_size))
    return status


def fingerprint(work_dir: Path) -> dict[str, str]:
    """Hashes of what a run ends with, and its best score."""
    last = torch.load(work_dir / 'epoch_4.pth', weights_only=True)
    (best,) = [path for path in work_dir.glob('best_*.pth') if path.name == Path(hub(last, 'best_ckpt')).name]
    parts = {key: last[key] for key in ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers')}
    parts |= dict(
        best=torch.load(best, weights_only=True)['state_dict'], best_name=best.name, best_score=hub(last, 'best_score')
    )
    parts |= dict(files=sorted(path.name for path in work_dir.glob('*.pth')))
    parts |= dict(exact_resume=last['exact_resume'], meta=[last['meta']['epoch'], last['meta']['iter']])
    return {name: digest(part) for name, part in parts.items()}


def hub(checkpoint: dict, name: str):
    return checkpoint['message_hub']['runtime_info'][name]


def digest(value) -> str:
    found = hashlib.sha256()

    def feed(value) -> None:
        if isinstance(value, torch.Tensor):
            found.update(f'{value.dtype}{tuple(value.shape)}'.encode() + value.contiguous().numpy().tobytes())
        elif isinstance(value, dict):
            for key, item in value.items():
                found.update(repr(key).encode())
                feed(item)
        elif isinstance(value, (list, tuple)):
            for item in value:
                feed(item)
        else:
            found.update(repr(value).encode())

    feed(value)
    return found.hexdigest()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--kills', type=int, default=5)
    parser.add_argument('--seed', type=int, default=None, help='of the faults; by default a new one, which is printed')
    parser.add_argument('--workers', type=int, default=1)
    parser.add_argument('--keep', type=int, default=1, help='max_keep_ckpts')
    args = parser.parse_args()
    seed = args.seed if args.seed is not None else int.from_bytes(os.urandom(4), 'little')
    print(f'seed {seed}', flush=True)
    rng = random.Random(seed)
    torch.set_num_threads(1)
    import mmdensenet.apis
    import mmdensenet.utils

    mmdensenet.utils.register_all_modules()
    for name in ('mmpretrain.models', 'sklearn.datasets', 'sklearn.model_selection'):
        importlib.import_module(name)
    # laying out the config's text takes longer than all the rest of a save
    mmengine.Config.pretty_text = property(lambda config: repr(config))

    install()
    folder = Path(tempfile.mkdtemp(prefix='kill-'))
    config, log = folder / 'run.py', folder / 'log.txt'
    digits = str(ROOT / 'configs/densenet-bc-l22-k12_1xb32_digits.py')
    config.write_text(CONFIG.format(digits=digits, workers=args.workers, keep=args.keep))
    begun = time.monotonic()
    if wait(start(config, folder / 'straight', log)):
        print(log.read_text()[-5000:])
        return 1
    expected = fingerprint(folder / 'straight')
    kills, runs, seen = 0, 0, Counter()
    order = list(FAULTS)[:5] if args.kills <= 5 else []
    rng.shuffle(order)
    while kills < args.kills:
        work_dir = folder / f'run_{runs}'
        status = None
        while status != 0:
            kind = order.pop() if order else (rng.choice(list(FAULTS)) if kills < args.kills else None)
            status = wait(start(config, work_dir, log)) if kind is None else strike(kind, rng, config, work_dir, log)
            if status:
                if status not in ((1, -signal.SIGKILL) if kind == 'worker' else ENDINGS):
                    print(log.read_text()[-5000:])
                    print(f'run {runs} ended with {status} after {kind}')
                    return 1
                kills += 1
                seen[f'{kind} {status}'] += 1
        runs += 1
        found = fingerprint(work_dir)
        if found != expected:
            differ = [name for name in expected if found[name] != expected[name]]
            print(f'run {runs - 1} differs in {differ}; it is kept in {folder}')
            return 1
        leftovers = [path.name for path in work_dir.glob('.*.tmp')] + [path.name for path in work_dir.glob('resume_*')]
        if leftovers:
            print(f'left over: {leftovers}')
            return 1
        shutil.rmtree(work_dir)
    shutil.rmtree(folder)
    print(
        json.dumps(
            dict(kills=kills, runs=runs, seconds=round(time.monotonic() - begun), faults=dict(sorted(seen.items())))
        )
    )
    return 0


if __name__ == '__main__':
    sys.exit(main())
