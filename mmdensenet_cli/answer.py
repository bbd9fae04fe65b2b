"""Print what needs no import, and end a command in one line."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

INTERRUPTED = 128 + 2  # as shells say of SIGINT


class CommandError(Exception):
    """A user's mistake, one or two lines, for commands that do not import mmdensenet's UserError."""


def answer(run: Callable[[], None]) -> None:
    """Call what only prints, and does not need mmdensenet. Mistakes exit with status 2."""
    open_closed_streams()
    try:
        run()
        sys.stdout.flush()
    except BrokenPipeError:  # its reader has read enough, as head
        _discard_output()
    except CommandError as error:
        print(f'error: {error}', file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if error.filename is None:
            _discard_output()
        print(f'error: {error.filename or "standard output"}: {error.strerror}.', file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        interrupted()


def _discard_output() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter's end flushes once more


def open_closed_streams() -> None:
    """Let what is printed go nowhere where the caller has closed a standard stream, as ``2>&-`` does.

    Else the next file that is opened has the stream's number, and gets what libraries print.
    """
    closed = [name for name in ('stdin', 'stdout', 'stderr') if getattr(sys, name) is None]
    # each takes the lowest number that is free
    numbers = [os.open(os.devnull, os.O_RDWR) for _ in closed]
    for name, number in zip(closed, numbers):
        setattr(sys, name, os.fdopen(number, 'r' if name == 'stdin' else 'w', closefd=False))


def interrupted() -> NoReturn:
    """Exit after Ctrl-C without a traceback; run_tool handles the processes of a group itself."""
    print('interrupted', file=sys.stderr)
    sys.exit(INTERRUPTED)


@contextmanager
def ending_at_ctrl_c(owns_process: bool) -> Iterator[None]:
    """Import inside: Ctrl-C ends the process at once, if it is the command's.

    Some packages go on after a KeyboardInterrupt in their imports, and fail elsewhere, as torch does without NumPy.
    """
    import signal
    import threading

    def end(*_: object) -> NoReturn:
        erased = '\r\x1b[K' if sys.stderr.isatty() else ''
        os.write(2, f'{erased}interrupted\n'.encode())
        os._exit(INTERRUPTED)

    is_main = threading.current_thread() is threading.main_thread()
    if not (owns_process and is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler):
        yield
        return
    signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
