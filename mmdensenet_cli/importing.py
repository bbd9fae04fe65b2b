"""Show on a terminal that a command imports PyTorch and mmpretrain: for seconds, the first time for longer."""

import os
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

#: seconds before the line is shown
PATIENCE = 2
TEXT = 'importing PyTorch and mmpretrain, which takes longer the first time ...'


@contextmanager
def importing(patience: float = PATIENCE) -> Iterator[None]:
    """Import inside: a line is shown after ``patience`` seconds, and removed afterwards; without a terminal, none."""
    rank = os.environ.get('RANK') or os.environ.get('SLURM_PROCID') or '0'
    stream = sys.stderr
    if rank != '0' or not stream.isatty():  # only rank 0 shows it, and only on a terminal
        yield
        return
    shows_it = threading.Event()
    end = '\n' if os.environ.get('TERM') in ('dumb', 'unknown') else ''  # those cannot erase it
    text = TEXT[: shutil.get_terminal_size().columns - 1]  # of a longer one the first line would stay

    def show() -> None:
        shows_it.set()
        print(text, end=end, file=stream, flush=True)

    timer = threading.Timer(patience, show)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        if shows_it.is_set() and not end:
            print('\r\x1b[K', end='', file=stream, flush=True)
