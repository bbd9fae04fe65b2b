"""Processes that read give results in order, and end with the one that began them, however that ends."""

import os
import signal
import sys
import time
from multiprocessing import get_context
from pathlib import Path

import pytest

from mmdensenet.apis.reading_processes import reading_processes
from mmdensenet.errors import UserError


@pytest.mark.parametrize('workers', [0, 2])
def test_results_are_in_order(workers):
    with reading_processes(workers) as spread:
        assert list(spread(abs, range(-20, 0), chunksize=3)) == list(range(20, 0, -1))


def test_a_killed_process_is_said():
    with pytest.raises(UserError, match='was killed, as happens when memory runs short: read less'):
        with reading_processes(1, 'read less') as spread:
            list(spread(os._exit, [1]))


@pytest.mark.skipif(sys.platform != 'linux', reason='forks')
def test_none_stays_behind_a_parent_that_is_killed():
    reading, writing = os.pipe()
    parent = get_context('fork').Process(target=_read_for_long, args=(writing,))
    parent.start()
    os.close(writing)
    with open(reading) as began:
        children = {int(began.readline()) for _ in range(2)}
        parent.kill()
        parent.join()
    assert len(children) == 2
    end = time.monotonic() + 60
    while (left := {child for child in children if _runs(child)}) and time.monotonic() < end:
        time.sleep(0.05)
    for child in left:
        os.kill(child, signal.SIGKILL)
    assert not left


def _read_for_long(writing: int) -> None:
    with reading_processes(2) as spread:
        list(spread(_wait, [writing] * 2))


def _wait(writing: int) -> None:
    os.write(writing, f'{os.getpid()}\n'.encode())
    time.sleep(300)


def _runs(process: int) -> bool:
    try:
        state = Path(f'/proc/{process}/stat').read_text().rpartition(')')[2].split()[0]
    except OSError:
        return False
    return state != 'Z'  # one that has ended and that nobody has waited for
