"""Workers of a data loader live on when the whole process group gets a signal."""

import os
import signal
import time

import pytest
import torch
from torch.utils.data import DataLoader, RandomSampler, TensorDataset

from mmdensenet.training import signals as worker_signals
from mmdensenet.training.draws import number_draws


def loader(workers: int = 2) -> DataLoader:
    dataset = TensorDataset(torch.arange(40))
    dataloader = DataLoader(dataset, batch_size=2, sampler=RandomSampler(dataset), num_workers=workers)
    number_draws(dataloader, seed=0, rank=0)
    return dataloader


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_batches_go_on_after_a_signal_to_the_workers(number):
    iterator = iter(loader())
    got = [next(iterator), next(iterator)]  # both of them have begun
    for worker in iterator._workers:
        os.kill(worker.pid, number)
    got += list(iterator)
    assert sorted(int(value) for (batch,) in got for value in batch) == list(range(40))


def test_a_second_signal_and_time_end_a_worker(monkeypatch):
    monkeypatch.setattr(worker_signals, 'GRACE', 1)
    iterator = iter(loader())
    next(iterator), next(iterator)
    first, second = iterator._workers
    os.kill(first.pid, signal.SIGTERM)
    os.kill(second.pid, signal.SIGTERM)
    time.sleep(0.2)
    os.kill(second.pid, signal.SIGTERM)
    with pytest.raises(RuntimeError, match='worker'):  # torch notices their end
        for _ in range(100):
            time.sleep(0.05)
    first.join(5)
    second.join(5)
    assert (first.exitcode, second.exitcode) == (128 + signal.SIGTERM, -signal.SIGTERM)


def test_an_init_function_is_still_called():
    called = []
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    try:
        worker_signals.outlive_signals(called.append, 3)
    finally:
        for number, handler in zip((signal.SIGTERM, signal.SIGINT), handlers):
            signal.signal(number, handler)
    assert called == [3]
