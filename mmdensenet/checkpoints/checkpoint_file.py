"""Checkpoint files that are written atomically, carry a checksum, and are found again after a crash.

The checksum, the SHA-256 of all bytes before it, is in the comment at the end of torch's zip file. Other readers skip
it: ``torch.load`` reads the file without mmdensenet.
"""

import contextlib
import errno
import hashlib
import os
import re
import struct
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mmdensenet.errors import UserError

from .archive import MAGIC
from .zip_directory import is_intact, read_directory

_END_OF_ZIP = 22  # bytes of a zip file's last record, without a comment
_TRAILER = re.compile(rb'mmdensenet resume=([01]) time=(\d{20})(?: run=([0-9a-f]{16}))? sha256=([0-9a-f]{64})$')
_CHUNK = 1 << 22
#: files that this process has verified, so that resuming reads the newest one once
_INTACT: set[tuple[int, ...]] = set()


def _trailer(resumable: bool, time_ns: int, run: str | None) -> bytes:
    """The comment of a file, with zeros for the checksum at its end."""
    of_run = f' run={run}' if run else ''
    return f'mmdensenet resume={resumable:d} time={time_ns:020d}{of_run} sha256={0:064d}'.encode()


_TRAILER_SIZES = tuple(len(_trailer(False, 0, run)) for run in (None, '0' * 16))


def write_whole(
    content: Any,
    filename: str | os.PathLike,
    resumable: bool = False,
    run: str | None = None,
    time_ns: int | None = None,
) -> None:
    """Write plain data with ``torch.save`` to a file beside the target, flush it, and rename it to the target.

    A crash at any point leaves either the old file or the new one.

    Args:
        resumable: whether training can resume from it; ``--resume`` ignores other files.
        run: id of the run that writes it, see :mod:`mmdensenet.checkpoints.work_dir`; anything but 16 hexadecimal
            digits counts as none.
        time_ns: when its content was made, in nanoseconds since 1970; by default now.

    Raises:
        UserError: if the folder cannot be written to or the disk is full; it names the path and the bytes needed.
    """
    target = Path(filename)
    run = run if isinstance(run, str) and re.fullmatch('[0-9a-f]{16}', run) else None
    sink = _Sink()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as beside, beside.open('wb') as file:
            sink.file = file
            torch.save(content, sink)
            sink.finish(resumable, run, time_ns)
            os.fsync(file.fileno())
    except OSError as error:
        if not sink.size:
            torch.save(content, sink)  # counts the bytes
        why = _why_not_written(target, sink.size + len(_trailer(resumable, 0, run)), error)
        then = 'resume the run; the checkpoints that are there stay' if resumable else 'run the command again'
        raise UserError(f'{why}, then {then}.') from error
    flush_folder(target.parent)


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A path beside the target to write to. At the end it is renamed to the target; after an error it is deleted."""
    beside = target.with_name(f'.{target.name}.{os.getpid()}.tmp')
    try:
        yield beside
        os.replace(beside, target)
    finally:
        with contextlib.suppress(OSError):  # in a folder that is not writable
            beside.unlink(missing_ok=True)


def flush_folder(folder: Path) -> None:
    """Make a renaming durable. On a system that cannot open folders this does nothing."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    with contextlib.suppress(OSError):
        os.fsync(handle)
    os.close(handle)


def _why_not_written(target: Path, needed: int, error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        status = os.statvfs(target.parent) if hasattr(os, 'statvfs') else None
        free = f', {status.f_bavail * status.f_frsize:,} are free' if status else ''
        what = f'the disk is full: {needed:,} bytes are needed{free}. Make room'
    elif error.errno == errno.EFBIG:
        what = f'files may not grow to {needed:,} bytes here. Raise the limit (ulimit -f)'
    else:
        what = f'{error.strerror or error} ({needed:,} bytes are needed). Make the folder writable'
    return f'cannot write {target}: {what}'


class _Sink:
    """A file for ``torch.save`` that hashes and counts the bytes written to it.

    :meth:`finish` raises the first error of the file: torch's writer crashes on one, and the bytes must all be counted.
    """

    def __init__(self):
        self.file = None
        self.size = 0
        self.error: OSError | None = None
        self._hash = hashlib.sha256()
        self._held = b''  # the last bytes, which may be the end of the zip file, where the comment goes

    def write(self, data) -> int:
        data = memoryview(data).cast('B')
        self.size += len(data)
        if len(data) < _END_OF_ZIP:
            joined = self._held + bytes(data)
            self._put(joined[:-_END_OF_ZIP])
            self._held = joined[-_END_OF_ZIP:]
        else:
            self._put(self._held)
            self._put(data[:-_END_OF_ZIP])
            self._held = bytes(data[-_END_OF_ZIP:])
        return len(data)

    def flush(self) -> None:
        pass

    def _put(self, data) -> None:
        if self.file is None or self.error is not None:
            return
        try:
            self.file.write(data)
        except OSError as error:
            self.error = error
        else:
            self._hash.update(data)

    def finish(self, resumable: bool, run: str | None, time_ns: int | None = None) -> None:
        assert self._held.startswith(b'PK\5\6') and self._held.endswith(b'\0\0'), 'torch.save writes a zip file'
        trailer = _trailer(resumable, time.time_ns() if time_ns is None else time_ns, run)
        self._put(self._held[:-2] + struct.pack('<H', len(trailer)))
        self._put(trailer[:-64])
        self._put(self._hash.hexdigest().encode())
        if self.error is not None:
            raise self.error
        self.file.flush()


# ---------------------------------------------------------------------------------------------------------------------
# Finding


@dataclass(frozen=True)
class Written:
    """The facts at the end of a checkpoint file.

    Attributes:
        path: of the file.
        resumable: whether it has what a run needs to go on, not weights only.
        time_ns: when it was written, in nanoseconds since 1970.
        sha256: of all bytes before; None for a file that mmdensenet did not write.
        run: id of the run that wrote it, or None.
    """

    path: Path
    resumable: bool
    time_ns: int
    sha256: str | None
    run: str | None = None


def inspect_file(path: str | os.PathLike) -> Written:
    """Read the end of a checkpoint file. The time of a file without a checksum is its last modification."""
    path = Path(path)
    with path.open('rb') as file:
        status = os.fstat(file.fileno())
        file.seek(max(0, status.st_size - max(_TRAILER_SIZES)))
        found = _TRAILER.search(file.read(max(_TRAILER_SIZES)))
    if found is None:
        return Written(path, True, status.st_mtime_ns, None)
    return Written(path, found[1] == b'1', int(found[2]), found[4].decode(), found[3].decode() if found[3] else None)


def what_is_wrong(path: str | os.PathLike) -> str | None:
    """Return None for an intact checkpoint file, else what is wrong in a few words.

    Nothing is loaded from the file. A file that does not exist, or cannot be read, is one of the wrong ones.

    Args:
        path: of the file.
    """
    try:
        with open(path, 'rb') as file:
            if file.read(4) != MAGIC:
                return 'it is cut short or not a checkpoint'
            if inspect_file(path).sha256 is None and not any(
                part.name.endswith(b'data.pkl') for part in read_directory(file).parts
            ):
                return 'it is not a checkpoint'
        return changed_since_written(path)
    except OSError as error:
        return error.strerror or str(error)
    except zipfile.BadZipFile as error:
        return str(error)


def changed_since_written(path: str | os.PathLike) -> str | None:
    """None if a file matches its checksums or has none, else the reason in a few words.

    Our files have one checksum of all bytes, torch's zip files one for each part, and files of torch before 1.6 none. A
    verified file is not read again until it changes.

    Raises:
        zipfile.BadZipFile: for a zip file of others that is damaged or ambiguous.
    """
    status = os.stat(path)
    identity = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    if identity in _INTACT:
        return None
    written = inspect_file(path)
    with open(path, 'rb') as file:
        if file.read(4) != MAGIC:
            return None
        if written.sha256 is None:
            directory = read_directory(file)
            if len(directory.comment) in _TRAILER_SIZES:
                return 'its checksum is damaged'
            for part in directory.parts:
                if not is_intact(file, part):
                    return f'its part {part.name[:80].decode(errors="replace")} is damaged: its checksum differs'
        elif _sha256(file, status.st_size - 64) != written.sha256:
            return 'its checksum differs'
    _INTACT.add(identity)
    return None


def sha256(path: str | os.PathLike, size: int | None = None) -> str:
    """The SHA-256 of a file, or of its first ``size`` bytes, in hexadecimal."""
    with open(path, 'rb') as file:
        return _sha256(file, os.fstat(file.fileno()).st_size if size is None else size)


def _sha256(file, size: int) -> str:
    file.seek(0)
    digest = hashlib.sha256()
    while size > 0 and (chunk := file.read(min(size, _CHUNK))):
        digest.update(chunk)
        size -= len(chunk)
    return digest.hexdigest()


def remove_leftovers(folder: str | os.PathLike) -> list[str]:
    """Delete the partial files of processes that were killed while they wrote, and return the names."""
    removed = []
    for path in Path(folder).glob('.*.tmp'):
        found = re.fullmatch(r'\.(?:.+\.pth|run\.json)\.(\d+)\.tmp', path.name)
        if found and not _is_running(int(found[1])):
            path.unlink(missing_ok=True)
            removed.append(path.name)
    return removed


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # a process of another user
        pass
    return pid != os.getpid()  # an earlier process had this number: this one is not writing
