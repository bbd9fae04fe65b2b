"""Processes that read images, and end with the one that began them."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import connection, get_context, parent_process

import cv2

from mmdensenet.errors import UserError

FEWER = 'give fewer, workers=1, or 0 to see at which image'


@contextmanager
def reading_processes(workers: int, advice: str = FEWER) -> Iterator[Callable[..., Iterator]]:
    """A ``map`` over so many processes, with the results in order; its ``chunksize`` goes to a process at once.

    Args:
        workers: 0 reads in this process.
        advice: what to do if a process is killed.

    Raises:
        UserError: if a process is killed.
    """
    if workers == 0:
        yield lambda function, items, chunksize=1: map(function, items)
        return
    # forked: what reads is there, and nothing has to be imported again
    method = 'fork' if sys.platform == 'linux' else 'spawn'
    with ProcessPoolExecutor(workers, get_context(method), _begin) as pool:
        try:
            yield pool.map
        except BrokenProcessPool as error:
            raise UserError(
                f'a process that reads images was killed, as happens when memory runs short: {advice}.'
            ) from error
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _begin() -> None:
    cv2.setNumThreads(0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which ends it

    def end_with_parent() -> None:  # a parent that is killed does not end its children
        connection.wait([parent_process().sentinel])
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
