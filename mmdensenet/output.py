"""Check and prepare the file that a tool is going to write."""

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from mmdensenet.errors import UserError


def output_file(file: str | Path, suffixes: Sequence[str]) -> Path:
    """Return the path of a file to write, and make its folder. Call it before the work, whose result would be lost.

    Raises:
        UserError: for another suffix, or if there can be no such file.
    """
    path = Path(file)
    if path.suffix.lower() not in suffixes:
        raise UserError(f'out={file}: the name must end in {" or ".join(suffixes)}.')
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if path.exists() and not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    return path


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an error of writing a file into a UserError that names it.

    Raises:
        UserError: with the system's reason.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:  # OpenVINO gives no reason; a full disk is the most likely one
        reason = getattr(error, 'strerror', None) or 'is the disk full?'
        room, limit = 'make room, or give another', 'raise the limit (ulimit -f), or give another'
        todo = {None: room, errno.ENOSPC: room, errno.EDQUOT: room, errno.EFBIG: limit}
        todo = todo.get(getattr(error, 'errno', None), 'give another')
        raise UserError(f'out={path} cannot be written ({reason}): {todo}.') from error
