"""Workers of data loaders that let the training process finish its step when the whole process group gets the signal.

Terminals, slurm, systemd and container runtimes send Ctrl-C and SIGTERM to all processes of a job. torch's workers die
of SIGTERM at once, and the training process, which could have saved where it is, fails for want of their batches.
"""

import os
import signal
from collections.abc import Callable

#: seconds that a worker lives on after its first SIGTERM; time for the step, and no process that nobody can end
GRACE = 30


class OutliveSignals:
    """A data loader's ``worker_init_fn``: the first SIGTERM ends the worker after :data:`GRACE` seconds, if nobody has
    before, the second one at once; Ctrl-C is its parent's business. A worker whose parent is gone ends by itself."""

    def __init__(self, init: Callable[[int], None] | None):
        self.init = init

    def __call__(self, worker_id: int) -> None:
        signal.signal(signal.SIGTERM, _end_later)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if self.init is not None:
            self.init(worker_id)


def _end_later(number: int, frame) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGALRM, lambda *_: os._exit(128 + number))
    signal.alarm(GRACE)
