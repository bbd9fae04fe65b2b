"""Finds the run that wrote each checkpoint of a work directory, and the checkpoint from which a run resumes.

A run writes ``run.json`` before its first step, and its checkpoints carry its id. So if a new run starts in the folder
of an older one and dies before its first checkpoint, resuming does not mistake the older run for it.
"""

import json
import logging
import os
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mmdensenet.compat.faults import wrapping
from mmdensenet.compat.mmengine import LATEST
from mmdensenet.errors import UserError

from .checkpoint_file import Written, flush_folder, inspect_file, replacing, what_is_wrong

#: in the work directory: describes the run that began last
FILE = 'run.json'


@dataclass(frozen=True)
class Run:
    """A run, and the runs that it continues.

    Attributes:
        id: the id in its checkpoints.
        line: the runs that it continues, each with the time (as :attr:`Written.time_ns`) up to which their checkpoints
            are this run's past. None is the run of checkpoints without an id, which mmdensenet did not write.
        source: path or URL of the checkpoint to resume from that its command names.
    """

    id: str
    line: tuple[tuple[str | None, int], ...] = ()
    source: str | None = None

    def owns(self, written: Written) -> bool:
        """Whether the run, once interrupted, may resume from this checkpoint."""
        return written.run == self.id or self.began_after(written)

    def began_after(self, written: Written) -> bool:
        """Whether the checkpoint is part of the run's past."""
        past = any(written.run == run and written.time_ns <= end for run, end in self.line)
        return written.run != self.id and (past or str(written.path) == self.source)


def read_run(work_dir: str | os.PathLike) -> Run | None:
    """The run that began last in this folder, or None if the folder has no ``run.json``.

    Raises:
        UserError: if ``run.json`` is not one of ours.
    """
    file = Path(work_dir, FILE)
    try:
        described = json.loads(file.read_text(encoding='utf-8'))
        line = tuple((None if run is None else str(run), int(end)) for run, end in described['line'])
        source = described['source']
        return Run(str(described['id']), line, None if source is None else str(source))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise UserError(
            f'{file} does not say which run the checkpoints beside it are of ({type(error).__name__}).\n'
            'Go on with resume=CHECKPOINT, or delete the file: then resuming takes the newest.'
        ) from error


def begin_run(work_dir: str | os.PathLike, source: str | None = None) -> Run:
    """Write ``run.json`` for a run that begins or resumes here. One process calls this, before the first step.

    A run that resumes from the checkpoint that :func:`checkpoint_to_resume` finds stays the same run. One that resumes
    from another checkpoint is a new run, so that it never resumes from newer checkpoints of the old one.

    Args:
        source: path or URL of the checkpoint from which it resumes; None for a new run.

    Raises:
        UserError: if the folder cannot be written to.
    """
    run = Run(uuid.uuid4().hex[:16])
    if source is not None:
        try:
            current, newest = read_run(work_dir), newest_that_verifies(work_dir)[0]
        except UserError:  # the command names a checkpoint, so a damaged run.json does not matter
            current = newest = None
        run = _continued(run.id, source, current, newest)
        if run == current:
            return run
    _write_run(Path(work_dir, FILE), run)
    return run


def _continued(new_id: str, source: str, current: Run | None, newest: Written | None) -> Run:
    if '://' in source:
        return Run(new_id, source=source)
    path = os.path.abspath(source)
    if not os.path.isfile(path):  # a folder of DeepSpeed's
        return Run(new_id, source=path)
    written = inspect_file(path)
    if newest is not None and os.path.samefile(newest.path, source):
        if current is not None:
            return current
        return Run(written.run) if written.run else Run(new_id, ((None, written.time_ns),), path)
    line = [(written.run, written.time_ns)]
    if current is not None and current.owns(written):
        line += [(run, end) for run, end in current.line if run != written.run and end <= written.time_ns]
    return Run(new_id, tuple(line), path)


def _write_run(file: Path, run: Run) -> None:
    text = json.dumps(dict(id=run.id, line=run.line, source=run.source)) + '\n'
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as beside, beside.open('w', encoding='utf-8') as opened:
            opened.write(text)
            opened.flush()
            os.fsync(opened.fileno())
        flush_folder(file.parent)
    except OSError as error:
        raise UserError(
            f'cannot write {file}: {error.strerror or error} ({len(text)} bytes are needed). Make room, or the folder '
            'writable.'
        ) from error


# ---------------------------------------------------------------------------------------------------------------------
# Finding


def checkpoint_to_resume(work_dir: str | os.PathLike) -> tuple[Written | None, list[tuple[Path, str]]]:
    """The checkpoint from which resuming without a file starts; see :func:`newest_that_verifies`.

    Raises:
        UserError: if the last run resumed from a checkpoint elsewhere and has not written one: starting from the
            beginning would be another run.
    """
    found, passed_over = newest_that_verifies(work_dir)
    run = read_run(work_dir) if found is None else None
    if run is not None and run.source is not None:
        raise UserError(
            f'the run in {work_dir} went on from {run.source} and has no checkpoint of its own yet.\nGive it again: '
            f'resume={run.source}'
        )
    return found, passed_over


def checkpoints(work_dir: str | os.PathLike) -> list[Written]:
    """All files from which training could resume, of any run, intact or not, the newest first."""
    return _newest_first(work_dir, None)


def newest_that_verifies(work_dir: str | os.PathLike) -> tuple[Written | None, list[tuple[Path, str]]]:
    """The newest intact checkpoint of the last run in a work directory, for resuming.

    In a folder without ``run.json`` it is the newest of all.

    Args:
        work_dir: the folder.

    Returns:
        The file, or None; and the newer files that were passed over, each with the reason. Files of other runs share
        one entry.
    """
    run = read_run(work_dir)
    passed, others = [], []
    for written in _newest_first(work_dir, run):
        known = written.sha256 is not None
        other = run is not None and not run.owns(written)
        reason = what_is_wrong(written.path) if not other or not known else None
        if reason is not None:
            passed.append((written.path, reason))
        elif other:
            others.append(written.path)
        else:
            return written, passed + _of_other_runs(others)
    return None, passed + _of_other_runs(others)


def _of_other_runs(paths: list[Path]) -> list[tuple[Path, str]]:
    if not paths:
        return []
    it = 'it is' if len(paths) == 1 else f'it and {len(paths) - 1} older ones are'
    return [(paths[0], f'{it} of another run than the last one in this folder; resume {paths[0]} to go on from it')]


def _newest_first(work_dir: str | os.PathLike, run: Run | None) -> list[Written]:
    found = {path.absolute() for path in Path(work_dir).glob('*.pth') if path.is_file()}
    named = [Path(run.source)] if run is not None and run.source is not None and os.path.isfile(run.source) else []
    try:
        text = Path(work_dir, 'last_checkpoint').read_text().strip()
    except (OSError, UnicodeDecodeError):
        text = ''
    if text and '://' not in text and '\0' not in text:  # a loss of power may leave a file of zeros
        last = Path(text).absolute()
        # CheckpointHook's out_dir may be elsewhere. A folder there with its own run.json is the original of this copy.
        if last.parent == Path(work_dir).absolute() or not (last.parent / FILE).exists():
            named.append(last)
            found |= set(last.parent.glob('*.pth'))
    candidates = []
    for path in found.union(named):
        if not path.is_file():
            continue
        try:
            written = inspect_file(path)
        except OSError:
            continue
        usual = path in named or re.fullmatch(r'(resume_)?(epoch|iter)_\d+\.pth', path.name)
        if written.resumable and (written.sha256 is not None or usual):
            candidates.append(written)

    def when(written: Written) -> tuple:
        # a run's source is older than its own checkpoints, whatever time a copy has
        return run is None or not run.began_after(written), written.time_ns, written.path.name

    return sorted(candidates, key=when, reverse=True)


@LATEST.repaired_by
def resume_from_whole_checkpoints() -> None:
    """Let mmengine's ``find_latest_checkpoint`` be :func:`checkpoint_to_resume`."""
    from mmengine.logging import print_log
    from mmengine.runner import checkpoint

    @wrapping(checkpoint, 'find_latest_checkpoint')
    def find_whole(find: Callable, path: str) -> str | None:
        found, passed_over = checkpoint_to_resume(path)
        for file, reason in passed_over:
            print_log(f'{file} is passed over: {reason}.', 'current', logging.WARNING)
        return str(found.path) if found else None
