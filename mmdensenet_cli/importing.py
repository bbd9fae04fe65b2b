"""Say that a command imports PyTorch and mmpretrain: for seconds, the first time for longer."""

import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Timer

#: seconds of imports before the line is shown on a terminal, where it is removed afterwards, and elsewhere
PATIENCE, PATIENCE_OF_FILES = 2, 3
TEXT = 'importing PyTorch and mmpretrain, which takes longer the first time ...'


class Importing:
    """Says once what a command waits for: on a terminal a line that is removed afterwards, elsewhere one that stays.

    Args:
        prints_results: standard output has what others read, so that elsewhere the line goes to standard error.
        is_done: PyTorch is imported already, and nothing is said.
        patience: seconds of all imports together before the line is shown.
    """

    def __init__(self, prints_results: bool = False, is_done: bool = False, patience: float | None = None):
        rank = os.environ.get('RANK') or os.environ.get('SLURM_PROCID') or '0'
        terminal = next((stream for stream in (sys.stderr, sys.stdout) if stream is not None and stream.isatty()), None)
        self._stream = terminal or (sys.stderr if prints_results else sys.stdout)
        self._is_silent = is_done or rank != '0' or self._stream is None  # pythonw has no streams
        self._erases = terminal is not None and os.environ.get('TERM') not in ('dumb', 'unknown')
        self.left = patience if patience is not None else PATIENCE if terminal else PATIENCE_OF_FILES

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Import inside."""
        if self._is_silent:
            yield
            return
        begun, shows_it = time.monotonic(), Event()

        def show() -> None:
            shows_it.set()
            # of a longer one than the terminal is wide the first line would stay
            text = TEXT[: shutil.get_terminal_size().columns - 1] if self._erases else TEXT
            with suppress(OSError):  # its reader has ended, as head; what the command itself prints tells
                print(text, end='' if self._erases else '\n', file=self._stream, flush=True)

        timer = Timer(max(self.left, 0), show)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()
            self.left -= time.monotonic() - begun
            if shows_it.is_set():
                if self._erases:
                    print('\r\x1b[K', end='', file=self._stream, flush=True)
                else:
                    self._is_silent = True
