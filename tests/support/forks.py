"""Processes that are forked: in one that is started anew, importing mmpretrain takes seconds."""

import os
import runpy
import socket
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from conftest import TOOLS


def fork(function: Callable[[], object], out: Path, **environment: str) -> int:
    """The process in which ``function`` runs; what it prints, and what it starts, goes to the file ``out``."""
    if pid := os.fork():
        return pid
    status = 1
    try:
        file = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(file, 1)
        os.dup2(file, 2)
        sys.stdout = sys.stderr = os.fdopen(file, 'w', buffering=1)
        os.environ.update(environment)
        function()
        status = 0
    except SystemExit as stop:
        status = stop.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def wait(processes: Sequence[int], seconds: float = 240) -> list[int]:
    """Their statuses; those that take longer are killed."""
    statuses, end = {}, time.monotonic() + seconds
    while len(statuses) < len(processes):
        for pid in set(processes) - set(statuses):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                statuses[pid] = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > end:
                os.kill(pid, 9)
        time.sleep(0.01)
    return [statuses[pid] for pid in processes]


def free_port() -> str:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return str(probe.getsockname()[1])


def on_two_ranks(function: Callable[[], object], folder: Path) -> tuple[list[int], str]:
    """The statuses of two processes that run ``function`` with torchrun's environment, and what the first printed."""
    folder.mkdir(exist_ok=True)
    common = dict(WORLD_SIZE='2', MASTER_ADDR='127.0.0.1', MASTER_PORT=free_port())
    ranks = [fork(function, folder / f'out_{i}.txt', RANK=str(i), LOCAL_RANK=str(i), **common) for i in range(2)]
    return wait(ranks), (folder / 'out_0.txt').read_text()


def tool(name: str, *arguments: str | Path) -> Callable[[], object]:
    """A function that runs one of tools/, of a process of its own."""

    def run() -> None:
        sys.argv = [name, *map(str, arguments)]
        runpy.run_path(str(TOOLS / name), run_name='__main__')

    return run
