"""The time left: a live bar on terminals, and lines in the log between mmengine's."""

import atexit
import logging
import sys
import time
from datetime import timedelta

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from mmdensenet import terminal
from mmdensenet.registry import HOOKS


@HOOKS.register_module()
class ProgressHook(Hook):
    """Show one bar for the whole training and one for the current validation or test.

    mmengine logs after a number of iterations, which can take minutes on a CPU; this hook adds a line to the log every
    ``seconds``. Only the first rank shows anything. A quiet command prints these lines where there is no bar.
    """

    priority = 'VERY_LOW'

    def __init__(self, seconds: float = 30):
        self.seconds = seconds
        self._logged = 0.0
        #: start time, completed batches at the start, and total, by mode
        self._starts: dict[str, tuple[float, int, int]] = {}
        self.progress: Progress | None = None
        self._tasks: dict[str, int] = {}
        self._redirected: list[tuple[logging.StreamHandler, object]] = []

    def before_train(self, runner) -> None:
        self._begin(runner, 'train', runner.max_iters, runner.iter)

    def after_train(self, runner) -> None:
        self._end('train')

    def _before_epoch(self, runner, mode: str = 'train') -> None:
        if mode != 'train':
            self._begin(runner, mode, len(getattr(runner, f'{mode}_dataloader')))

    def _after_iter(self, runner, batch_idx, data_batch=None, outputs=None, mode: str = 'train') -> None:
        completed = runner.iter + 1 if mode == 'train' else batch_idx + 1
        if mode in self._tasks:
            self.progress.update(self._tasks[mode], completed=completed)
        now = time.monotonic()
        if now - self._logged >= self.seconds:
            self._logged = now
            start, before, total = self._starts[mode]
            left = (now - start) / (completed - before) * (total - completed)
            text = f'{mode}: {completed} of {total} batches, {timedelta(seconds=round(left))} left'
            is_visible = self.progress is not None or terminal.silence() < self.seconds
            runner.logger.info(text, extra=None if is_visible else terminal.SHOWN)

    def _after_epoch(self, runner, mode: str = 'train') -> None:
        if mode != 'train':
            self._end(mode)

    def _begin(self, runner, name: str, total: int, completed: int = 0) -> None:
        self._starts[name] = time.monotonic(), completed, total
        self._logged = time.monotonic()
        if not (is_main_process() and terminal.is_screen(sys.stdout)):
            return
        if self.progress is None:
            self._start(runner.logger)
        self._tasks[name] = self.progress.add_task(name, total=total, completed=completed)

    def _start(self, logger: logging.Logger) -> None:
        self.progress = Progress(
            TextColumn('{task.description:>5}'),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn('left'),
            TimeRemainingColumn(),
        )
        stream = sys.stdout
        self.progress.start()
        # the logger's handlers hold the stream that rich replaces; through rich, their lines appear above the bar
        for handler in logger.handlers:
            if getattr(handler, 'stream', None) is stream:
                self._redirected.append((handler, stream))
                handler.setStream(sys.stdout)
        atexit.register(self._stop)  # after an error no hook is called

    def _end(self, name: str) -> None:
        if name not in self._tasks:
            return
        self.progress.remove_task(self._tasks.pop(name))
        if not self._tasks:
            self._stop()

    def _stop(self) -> None:
        if self.progress is None:
            return
        self.progress.stop()
        self.progress = None
        for handler, stream in self._redirected:
            handler.setStream(stream)
        self._redirected.clear()
        atexit.unregister(self._stop)
