"""Says what a command waits for while it imports PyTorch and mmpretrain, which takes seconds, and longer at first."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

#: seconds without a word
PATIENCE = 3
TEXT = 'importing PyTorch and mmpretrain, which takes longer the first time ...'

_said: list[str] = []  # once is enough


@contextmanager
def importing(stream: TextIO, patience: float = PATIENCE) -> Iterator[None]:
    """Imports inside: after ``patience`` seconds a line says so, which a terminal gets back afterwards."""
    if int(os.environ.get('RANK') or os.environ.get('SLURM_PROCID') or 0):  # the first process speaks
        yield
        return
    shows_it = threading.Event()

    def show() -> None:
        if _said:
            return
        _said.append(TEXT)
        shows_it.set()
        print(TEXT, end='' if stream.isatty() else '\n', file=stream, flush=True)

    timer = threading.Timer(patience, show)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        if shows_it.is_set() and stream.isatty():
            print('\r\x1b[K', end='', file=stream, flush=True)
