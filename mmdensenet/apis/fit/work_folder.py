"""The work directory of fit: a file for each step's result, with what it was made of."""

import csv
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mmdensenet.errors import UserError


class WorkFolder:
    """Results of steps, each written whole or not at all, so that a call that is interrupted goes on where it was."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f'work_dir={path} cannot be made: {(error.strerror or str(error)).lower()}.') from error

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def done(self, step: str, made_of: dict[str, Any]) -> dict | None:
        """The result of a step that was made of the same, or None."""
        before = self.read(step)
        return before['result'] if before is not None and before['made_of'] == plain(made_of) else None

    def changed(self, step: str, made_of: dict[str, Any]) -> list[str]:
        """Return the inputs that changed since the step was done: ``name: before -> now``, of hashes the name alone."""
        before = self.read(step)
        if before is None:
            return []
        then, now = before['made_of'], plain(made_of)
        lines = []
        for name in sorted({*then, *now}):
            if then.get(name) != now.get(name):
                hidden = '"#' in json.dumps([then.get(name), now.get(name)])
                lines.append(name if hidden else f'{name}: {then.get(name)} -> {now.get(name)}')
        return lines

    def report_changes(self, step: str, made_of: dict[str, Any], report: Callable[[str], None]) -> None:
        for line in self.changed(step, made_of):
            report(f'  changed since the last call: {line}')

    def read(self, step: str) -> dict | None:
        """``made_of`` and ``result``; None if the step is not done, or its file is no result."""
        try:
            found = json.loads((self.path / f'{step}.json').read_text(encoding='utf-8'))
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) and {'made_of', 'result'} <= set(found) else None

    def begin(self, step: str) -> None:
        """Forget the step's result, before files that it is about are written: a call that is interrupted then, and
        called again with the options of before, would take the new files for what the result says."""
        (self.path / f'{step}.json').unlink(missing_ok=True)

    def set_aside(self, name: str) -> str | None:
        """Rename a file or folder to ``NAME_before1`` or the next that is free; None if it is not there."""
        path = self.path / name
        if not path.exists():
            return None
        free = (self.path / f'{path.stem}_before{k}{path.suffix}' for k in range(1, 10_000))
        aside = next(other for other in free if not other.exists())
        os.replace(path, aside)
        return aside.name

    def write(self, step: str, made_of: dict[str, Any], result: dict) -> dict:
        text = json.dumps(dict(made_of=plain(made_of), result=result), indent=1, ensure_ascii=False)
        write_text(self.path / f'{step}.json', text + '\n')
        return result


def plain(values: dict) -> dict:
    """Return the values after a round trip through JSON: tuples are lists then."""
    return json.loads(json.dumps(values))


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    write_bytes(path, text.encode('utf-8'))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        UserError: naming it, with the system's reason.
    """
    try:
        handle, beside = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.name}.')
        with os.fdopen(handle, 'wb') as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        mask = os.umask(0)  # it can be read only by setting it
        os.umask(mask)
        os.chmod(beside, 0o666 & ~mask)
        os.replace(beside, path)
    except OSError as error:
        raise UserError(f'{path} cannot be written: {(error.strerror or str(error)).lower()}.') from error


def hash_table(file: Path, without: Sequence[str] = ()) -> str:
    """A hash of a CSV file without these columns, marked as one."""
    with file.open(encoding='utf-8', newline='') as lines:
        header, *rows = csv.reader(lines)
    kept = [i for i, name in enumerate(header) if name not in without]
    return fingerprint([[row[i] for i in kept] for row in (header, *rows)])


def fingerprint(*parts: Any) -> str:
    """A hash of plain data, marked as one."""
    content = json.dumps(parts, sort_keys=True, ensure_ascii=False).encode()
    return '#' + hashlib.blake2b(content, digest_size=12).hexdigest()
