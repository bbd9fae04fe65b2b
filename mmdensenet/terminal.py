"""What a command shows while it works: a few lines and bars of its own, and of the log what a user needs.

Only inside :func:`command`, and only on the first of several processes: a library's caller sees mmengine's behaviour.
"""

import functools
import logging
import os
import re
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TypeVar

from mmengine.logging import MMLogger

T = TypeVar('T')

#: ``extra`` of a record of the log that a quiet command shows too: ``logger.info(TEXT, extra=SHOWN)``
SHOWN = {'on_terminal': True}
#: beginnings of mmengine's records that a user needs
USEFUL = re.compile(r'resumed epoch|LR is set based|the monitored metric')
#: beginnings of warnings that the user cannot do anything about
UNHELPFUL_RECORDS = re.compile(
    r'The prefix is not set|Failed to search registry|init_weights of|"FileClient" will|"HardDiskBackend" is'
)
#: (message, module) of warnings of other packages that a normal run shows and a user can do nothing about
UNHELPFUL_WARNINGS = [
    (r'Setting (OMP|MKL)_NUM_THREADS', r'mmengine\.utils\.dl_utils\.setup_env'),
    (r'`broadcast_buffers` is deprecated', r'mmengine\.model\.wrappers\.distributed'),
    (r'`torch\.cuda\.amp\.GradScaler', r'mmengine\.optim\.optimizer\.amp_optimizer_wrapper'),
    # mmengine keeps a counter of its own, which a checkpoint has restored
    (r'Detected call of `scheduler\.step\(\)` before', r'mmengine\.optim\.scheduler\.param_scheduler'),
]
#: packages whose deprecation warnings do not concern the user
OTHERS = r'(torch|torchvision|mmcv|mmengine|mmpretrain|matplotlib|multiprocessing|onnx\w*|openvino|google)(\.|$)'
#: seconds without a line after which counted work reports its progress, where there is no bar
SILENCE = 30

_mode: str | None = None  # 'quiet' or 'verbose' while a command runs
_bar_is_shown = False
_temporary: set[str] = set()
_last_line = 0.0


@contextmanager
def command(verbose: bool = False) -> Iterator[None]:
    """Run a command's work inside.

    Args:
        verbose: the log's lines go to the terminal too, all of them and as mmengine writes them.
    """
    global _mode
    before, _mode = _mode, 'verbose' if verbose else 'quiet'
    _hide_warnings(verbose)
    try:
        with nullcontext() if verbose else _quiet_logs():
            yield
    finally:
        _mode = before


def is_quiet() -> bool:
    """Whether a command runs that writes its log to a file only."""
    return _mode == 'quiet'


def is_first() -> bool:
    """Whether this is the only process, or rank 0 of several, which prints for all."""
    ranks = ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK')
    return int(next((os.environ[name] for name in ranks if os.environ.get(name)), '0')) == 0


def say(text: str) -> None:
    """Print a line on the terminal."""
    global _last_line
    if _mode is not None and is_first():
        print(text, flush=True)
        _last_line = time.monotonic()


def is_screen(stream) -> bool:
    """Whether a bar can be drawn there: on a terminal that moves its cursor."""
    return stream.isatty() and os.environ.get('TERM') not in ('dumb', 'unknown')


def silence() -> float:
    """Return the seconds since the last line."""
    return time.monotonic() - _last_line


def summary(rows: Sequence[tuple[str, object]]) -> None:
    """Show the settings of a run, a line for each name and value; None leaves a line out."""
    say('\n'.join(f'{name:11} {value}' for name, value in rows if value not in (None, '')))


@contextmanager
def temporary_work_dir() -> Iterator[str]:
    """A work directory that is removed afterwards, and that no summary names."""
    with tempfile.TemporaryDirectory() as folder:
        _temporary.add(folder)
        try:
            yield folder
        finally:
            _temporary.remove(folder)


def is_temporary(work_dir: str) -> bool:
    return work_dir in _temporary


def short_path(path: str | None) -> str | None:
    """Return a path below the current folder as a relative one, and one of our configs as its name."""
    if not path:
        return path
    place = Path(path)
    if place.parent.name == 'configs' and place.parent.parent.name == '.mim':
        return f'{place.parent.parent.parent.name}::{place.stem}'
    return str(place.relative_to(Path.cwd())) if place.is_relative_to(Path.cwd()) else path


@contextmanager
def waiting(text: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """Show that work takes long: on a terminal a bar, which is removed when it is done; else a line.

    Args:
        total: how many pieces there are, if that is known. The function that is given is called with how many more are
            done.
    """
    global _bar_is_shown
    if _mode is None or not is_first() or _bar_is_shown:
        yield lambda more: None
        return
    if not is_screen(sys.stdout):
        say(f'{text} ...')
        yield lambda more: None
        return
    with _bar(total is not None) as progress:
        task = progress.add_task(text, total=total)
        _bar_is_shown = True
        try:
            yield lambda more: progress.advance(task, more)
        finally:
            _bar_is_shown = False


def each(items: Iterable[T], text: str, total: int | None = None) -> Iterator[T]:
    """Yield the items, and show with :func:`waiting` how many are done."""
    total = len(items) if total is None and hasattr(items, '__len__') else total
    with waiting(text, total) as done:
        for item in items:
            yield item
            done(1)


@contextmanager
def counting(text: str, things: str = 'images') -> Iterator[Callable[[int, int], None]]:
    """:func:`waiting` for work that reports its own progress, until all is done, on standard error.

    Returns:
        What is called with how many are done, and how many there are.
    """
    bar = None
    is_said, spoken = False, 0.0

    def show(done: int, total: int) -> None:
        nonlocal bar, is_said, spoken
        if is_screen(sys.stderr):
            if bar is None and done < total:
                bar = _bar(True, stderr=True)
                bar.add_task(f'{text} {things}')
                bar.start()
            if bar is not None:
                bar.update(bar.task_ids[0], completed=done, total=total)
                if done >= total:
                    bar.stop()
                    bar = None
        elif not is_said or time.monotonic() - spoken > SILENCE:
            line = f'{done:,} of {total:,} {things}' if is_said else f'{text} {total:,} {things} ...'
            print(line, file=sys.stderr, flush=True)
            is_said, spoken = True, time.monotonic()

    try:
        yield show
    finally:
        if bar is not None:
            bar.stop()


def _bar(is_counted: bool, stderr: bool = False):
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    count = [MofNCompleteColumn()] if is_counted else []
    columns = (TextColumn('{task.description}'), BarColumn(), *count, TimeElapsedColumn())
    return Progress(*columns, console=Console(stderr=stderr), transient=True)  # of today's sys.stdout


class _ShowSome(logging.Handler):
    """A log handler for the terminal: shows warnings, and records that are marked as useful to the user."""

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.levelno >= logging.WARNING:
            if not UNHELPFUL_RECORDS.match(text):
                kind = 'warning' if record.levelno < logging.ERROR else 'error'
                print(f'{kind}: {text}', flush=True)
        elif getattr(record, 'on_terminal', False) or USEFUL.match(text):
            say(text)


def _log_cannot_be_written(handler: logging.FileHandler, record: logging.LogRecord) -> None:
    """Say once that a log lacks lines, as on a full disk, where logging prints a traceback for each."""
    error = sys.exc_info()[1]
    if not isinstance(error, OSError):
        logging.Handler.handleError(handler, record)
    elif not getattr(handler, 'lacks_lines', False):
        handler.lacks_lines = True
        say(f'warning: {handler.baseFilename} lacks lines: {error.strerror}')


@contextmanager
def _quiet_logs() -> Iterator[None]:
    """Show less of mmengine's loggers on the terminal, also of those that are made meanwhile."""
    changed: list[tuple[MMLogger, int, logging.Handler]] = []
    logs: list[logging.Handler] = []

    def change(logger: MMLogger) -> None:
        for place, handler in enumerate(logger.handlers):
            if isinstance(handler, logging.FileHandler):
                if hasattr(handler.stream, 'reconfigure'):
                    handler.stream.reconfigure(errors='backslashreplace')  # names of files may be in no encoding
                handler.handleError = functools.partial(_log_cannot_be_written, handler)
                logs.append(handler)
            if type(handler) is logging.StreamHandler:
                less = _ShowSome(handler.level)
                less.filters = handler.filters
                logger.handlers[place] = less
                changed.append((logger, place, handler))

    make = MMLogger.__init__
    print_log_module = sys.modules[MMLogger.__module__]

    @functools.wraps(make)
    def make_quiet(self, *args, **kwargs) -> None:
        make(self, *args, **kwargs)
        change(self)

    for logger in MMLogger._instance_dict.values():
        change(logger)
    MMLogger.__init__ = make_quiet
    print_log_module.print = lambda *args, **kwargs: None  # print_log prints where it gets no logger
    try:
        yield
    finally:
        MMLogger.__init__ = make
        del print_log_module.print
        for logger, place, handler in changed:
            logger.handlers[place] = handler
        for handler in logs:
            vars(handler).pop('handleError', None)


def _hide_warnings(verbose: bool) -> None:
    for message, module in UNHELPFUL_WARNINGS:
        warnings.filterwarnings('ignore', message=message, module=module)
    if not verbose:
        for category in (DeprecationWarning, PendingDeprecationWarning, FutureWarning):
            warnings.filterwarnings('ignore', category=category, module=OTHERS)
        logging.getLogger('matplotlib.font_manager').setLevel(logging.ERROR)  # that it makes its cache
