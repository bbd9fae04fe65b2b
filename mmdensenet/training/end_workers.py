"""Ends the workers of data loaders with the run.

Persistent workers live as long as their data loader, and after an error the traceback keeps the others alive. At exit
the interpreter terminates them and waits, and ours survive a SIGTERM for half a minute (:mod:`.signals`).
"""

import atexit
import functools
import gc
import time
from collections.abc import Iterable

from torch.utils.data import DataLoader
from torch.utils.data._utils import signal_handling
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

#: seconds that the workers of an iterator have to finish their batches
PATIENCE = 1.0


def end_workers(loaders: Iterable[DataLoader] | None = None) -> None:
    """End the workers of these data loaders, or of all. A loader that is iterated again starts new workers."""
    datasets = None if loaders is None else [id(loader.dataset) for loader in loaders]
    # after an exception in the loop, only the traceback still refers to the iterator
    for found in gc.get_objects():
        if type(found) is _MultiProcessingDataLoaderIter and (datasets is None or id(found._dataset) in datasets):
            _end(found)
    for loader in loaders or ():
        loader._iterator = None


def end_workers_of(runner) -> None:
    """End the workers of a runner's data loaders."""
    loops = (runner._train_loop, runner._val_loop, runner._test_loop)
    loaders = [getattr(loop, 'dataloader', None) for loop in loops]  # a loop that is not built is a dict
    end_workers([loader for loader in loaders if isinstance(loader, DataLoader)])


@functools.cache
def end_workers_at_exit() -> None:
    """End all workers when the interpreter ends, before it terminates them itself."""
    atexit.register(end_workers)


def _end(iterator: _MultiProcessingDataLoaderIter) -> None:
    workers = getattr(iterator, '_workers', ())  # none yet if its construction was interrupted
    if not workers or iterator._shutdown:
        return
    iterator._workers_done_event.set()
    for queue in iterator._index_queues:
        queue.put(None)
    end = time.monotonic() + PATIENCE
    for worker in workers:
        worker.join(max(0.0, end - time.monotonic()))
    if iterator._worker_pids_set:  # else torch raises an error for each that is killed
        signal_handling._remove_worker_pids(id(iterator))
        iterator._worker_pids_set = False
    for worker in workers:
        if worker.is_alive():
            worker.kill()
    iterator._shutdown_workers()
