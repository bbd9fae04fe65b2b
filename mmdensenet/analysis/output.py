"""The file that a tool is going to write."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from mmdensenet.errors import UserError


def output_file(file: str | Path, suffixes: Sequence[str]) -> Path:
    """The path of a file to write; its folder is made. Asked before the work, whose result would else be lost.

    Raises:
        UserError: for another suffix, or if there can be no such file.
    """
    path = Path(file)
    if path.suffix.lower() not in suffixes:
        *most, last = suffixes
        raise UserError(f'--out {file}: the name must end in {", ".join(most)} or {last}.')
    if path.is_dir():
        raise UserError(f'--out {file} is a folder: name a file.')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            writable = not path.exists() or os.access(path, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        raise UserError(f'--out {file} cannot be written: is {path.parent} a folder, and are you allowed to?')
    return path
