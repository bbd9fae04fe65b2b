"""Workers of data loaders end before training, testing and reporting return."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from conftest import TOOLS
from torch.utils.data import DataLoader, Dataset, RandomSampler, TensorDataset

import mmdensenet
from mmdensenet.apis import test_model, train_model
from mmdensenet.training import end_workers as module
from mmdensenet.training.draws import number_draws
from mmdensenet.training.end_workers import end_workers


class Slow(Dataset):
    def __init__(self):
        self.begun = multiprocessing.Semaphore(0)

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> int:
        self.begun.release()
        time.sleep(20)
        return index


def numbered(dataset: Dataset, **settings) -> DataLoader:
    loader = DataLoader(dataset, batch_size=2, sampler=RandomSampler(dataset), num_workers=2, **settings)
    number_draws(loader, seed=0, rank=0)
    return loader


@pytest.mark.parametrize('persistent', [True, False])
def test_workers_end_and_a_loader_can_be_iterated_again(persistent):
    loader = numbered(TensorDataset(torch.arange(40)), persistent_workers=persistent)
    other = numbered(TensorDataset(torch.arange(4)))
    kept = iter(other)
    iterator = iter(loader)
    next(iterator)
    end_workers([loader])
    assert not any(worker.is_alive() for worker in iterator._workers)
    assert all(worker.is_alive() for worker in kept._workers), 'those of other loaders go on'
    assert sorted(int(value) for (batch,) in loader for value in batch) == list(range(40))
    end_workers()
    assert not multiprocessing.active_children()


def test_a_worker_inside_a_batch_is_killed(monkeypatch):
    monkeypatch.setattr(module, 'PATIENCE', 0.2)
    dataset = Slow()
    iterator = iter(numbered(dataset))
    assert all(dataset.begun.acquire(timeout=60) for _ in iterator._workers), 'one that has not begun ends by itself'
    start = time.monotonic()
    end_workers()
    assert time.monotonic() - start < 10, 'half of what its batch takes'
    assert [worker.exitcode for worker in iterator._workers] == [-signal.SIGKILL] * 2


LOADERS = """
for loader in (train_dataloader, val_dataloader, test_dataloader):
    loader.update(num_workers={workers}, persistent_workers={persistent})
"""
#: as many cores as workers, for no data loader gets more workers than there are cores; and Ctrl-C as from a terminal,
#: for what a shell starts in the background ignores it
TOOL = """
import os, runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
os.sched_getaffinity = lambda pid: range(4)
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name='__main__')
"""


def test_training_and_testing_leave_no_workers(short_config, tmp_path, monkeypatch):
    monkeypatch.setattr(os, 'sched_getaffinity', lambda pid: range(4))
    config = str(short_config(LOADERS.format(workers=2, persistent=True)))
    runner = train_model(config, work_dir=str(tmp_path / 'w'), cfg_options={'train_cfg.max_epochs': 1})
    assert runner.train_dataloader.num_workers == runner.val_dataloader.num_workers == 2
    assert not multiprocessing.active_children()
    test_model(config, str(tmp_path / 'w/epoch_1.pth'), work_dir=str(tmp_path / 't'))
    assert not multiprocessing.active_children()


def end_of(command: list, wait_for: str | None, number: int | None) -> tuple[int, float, str]:
    """Status, time from the last line to the end, and stderr; ``number`` goes to the group at a line with a word.

    The time is a share of what the process took up to that line, most of it for imports, so that a machine that is busy
    with other things slows both. The fault was to wait five seconds for each worker, after ten of work.
    """
    command = [sys.executable, '-u', '-c', TOOL, *map(str, command)]
    begin = time.monotonic()
    started = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        for line in started.stdout:
            last = time.monotonic()
            if number is not None and wait_for in line:
                os.killpg(started.pid, number)
                number = None
        status = started.wait(60)
        return status, (time.monotonic() - last) / (last - begin), started.stderr.read()
    finally:
        if started.poll() is None:
            os.killpg(started.pid, signal.SIGKILL)
            started.wait()
        started.stdout.close()
        started.stderr.close()


#: of :func:`end_of`
LONGEST = 0.4


CASES = [  # pairs of workers, persistent workers and end
    (2, True, 'success'),
    (0, False, 'success'),
    (4, False, 'success'),
    (2, True, 'error'),
    (4, False, 'error'),
    (0, False, 'error'),
    (4, True, 'SIGINT'),
    (2, False, 'SIGINT'),
    (0, False, 'SIGINT'),
    (2, True, 'SIGTERM'),
    (4, False, 'SIGTERM'),
    (0, False, 'SIGTERM'),
]


@pytest.mark.parametrize(
    ('workers', 'persistent', 'end'),
    [pytest.param(*case, marks=() if i == 0 else pytest.mark.slow) for i, case in enumerate(CASES)],
)
def test_a_training_ends_with_its_last_line(short_config, tmp_path, workers, persistent, end):
    extra = LOADERS.format(workers=workers, persistent=persistent)
    if end == 'error':  # in the second epoch
        extra += "default_hooks = dict(logger=dict(interval=1), finite=dict(type='mmdensenet.FiniteHook'))\n"
        extra += 'optim_wrapper = dict(optimizer=dict(lr=1e30))\n'
    epochs = 2 if end in ('success', 'error') else 1000
    command = [TOOLS / 'train.py', short_config(extra), '--verbose', '--work-dir', tmp_path / 'w']
    number = getattr(signal, end, None)
    status, waited, err = end_of([*command, '--cfg-options', f'train_cfg.max_epochs={epochs}'], '[2][1/', number)
    assert status == dict(success=0, error=2, SIGINT=130, SIGTERM=143)[end], err
    assert waited < LONGEST
    assert err.startswith('error: ') and err.count('\n') <= 2 if end == 'error' else err == ''


@pytest.mark.slow
@pytest.mark.parametrize(
    ('tool', 'workers', 'persistent', 'end'),
    [
        ('test', 2, True, 'success'),
        ('test', 4, False, 'SIGINT'),
        ('test', 2, True, 'SIGTERM'),
        ('report', 4, True, 'success'),
        ('report', 2, False, 'success'),
    ],
)
def test_a_test_and_a_report_end_with_their_last_line(short_config, tmp_path, tool, workers, persistent, end):
    # long enough for the signal to come while it runs
    digits = "dict(type='mmdensenet.Digits', split='test', pipeline=[dict(type='PackInputs')])"
    repeated = f"dict(_delete_=True, type='RepeatDataset', times=50, dataset={digits})"
    more = f'test_dataloader = dict(batch_size=1, dataset={repeated})\n'
    config = short_config((more if end != 'success' else '') + LOADERS.format(workers=workers, persistent=persistent))
    checkpoint = tmp_path / 'm.pth'
    torch.save(dict(state_dict=mmdensenet.get_model(str(config)).state_dict()), checkpoint)
    last = ['--work-dir', tmp_path / 't'] if tool == 'test' else ['--out', tmp_path / 'r.html']
    command = [TOOLS / f'{tool}.py', config, checkpoint, '--verbose', *last]
    status, waited, err = end_of(command, 'Epoch(test)', getattr(signal, end, None))
    assert status == dict(success=0, SIGINT=130, SIGTERM=-15)[end], err
    assert waited < LONGEST
    assert err == ('interrupted\n' if end == 'SIGINT' else '')
