"""One training at a time in a work directory: two would overwrite each other's checkpoints."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from mmdensenet.errors import UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

#: the file that is locked; it stays, unlocked, after a process that was killed
FILE = '.running'


@contextmanager
def alone_in(work_dir: str | os.PathLike) -> Iterator[None]:
    """Train inside. Where files cannot be locked nothing is checked.

    The lock is of the process, without its children: workers of a killed run do not keep the next one out.

    Raises:
        UserError: if another process trains in this folder.
    """
    is_there = os.path.isdir(work_dir)
    file = _locked(Path(work_dir, FILE))
    try:
        yield
    finally:
        if file is not None:
            with suppress(OSError):  # the folder is not empty
                os.unlink(file.name)
                if not is_there:
                    os.rmdir(work_dir)
            file.close()


def _locked(path: Path) -> IO | None:
    if fcntl is None:
        return None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open('a+', encoding='ascii')
    except OSError:  # the run itself says what cannot be written
        return None
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.truncate(0)
        file.write(f'{os.getpid()}')
        file.flush()
        return file
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EAGAIN):  # a file system without locks, or without room
            file.close()
            return None
        with file:
            file.seek(0)
            process = file.read(20)
        raise UserError(
            f'{path.parent}: another run trains there (process {process}), and each would overwrite the checkpoints of '
            'the other. End that one, or give another `work_dir`.'
        ) from None
