"""SIGTERM and Ctrl-C: the training process finishes its step, and the workers of its data loaders live until then.

Terminals, slurm, systemd and container runtimes send a signal to all processes of a job. torch's workers end at once,
and the training process then fails for lack of their batches, before it can save its position.
"""

import os
import signal
import threading
from collections.abc import Callable

#: seconds for which a worker survives its first SIGTERM: enough for a step, and no worker survives for ever
GRACE = 30


class StopSignals:
    """Records SIGTERM and Ctrl-C in ``received`` until :meth:`release`; a second Ctrl-C raises KeyboardInterrupt."""

    def __init__(self):
        self.received: int | None = None
        self._handlers: dict[int, object] = {}

    def catch(self) -> None:
        """Install the handlers; outside the main thread, which alone may do so, this does nothing."""
        if threading.current_thread() is not threading.main_thread() or self._handlers:
            return
        pid = os.getpid()

        def record(number, frame) -> None:
            if os.getpid() != pid:
                return  # a worker of a data loader: its parent ends it
            if self.received is not None and number == signal.SIGINT:
                raise KeyboardInterrupt
            self.received = number

        for number in (signal.SIGTERM, signal.SIGINT):
            self._handlers[number] = signal.signal(number, record)

    def release(self) -> None:
        """Restore the previous handlers."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers.clear()


def outlive_signals(init: Callable[[int], None] | None, worker_id: int) -> None:
    """A data loader's ``worker_init_fn`` after ``init``: the worker ignores Ctrl-C and survives its first SIGTERM for
    :data:`GRACE` seconds; a second SIGTERM ends it at once. torch ends a worker whose parent is gone."""
    signal.signal(signal.SIGTERM, _end_later)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if init is not None:
        init(worker_id)


def _end_later(number: int, frame) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGALRM, lambda *_: os._exit(128 + number))
    signal.alarm(GRACE)
