"""Packages that not every installation has, and the command that installs them."""

import importlib
import importlib.metadata
import json
import os
from pathlib import Path
from types import ModuleType

from mmdensenet.errors import UserError


def imported(module: str, needed: str) -> ModuleType:
    """Import a module of another package.

    Args:
        needed: the beginning of the message, such as 'FILE is DICOM, which needs pydicom'.

    Raises:
        UserError: if it is missing, with the command that installs the package, whose name the module's begins with.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(f'{needed}. Run: pip install {module.partition(".")[0]}') from error


def install_command(extra: str) -> str:
    """Return the command that installs an extra, ``pip install "mmdensenet[EXTRA]"``, in a clone also in its form."""
    known = f'pip install "mmdensenet[{extra}]"'
    try:
        url = importlib.metadata.distribution('mmdensenet').read_text('direct_url.json')
    except importlib.metadata.PackageNotFoundError:
        return _of_clone(extra) or known
    if json.loads(url or '{}').get('dir_info', {}).get('editable') and (clone := _of_clone(extra)):
        return f'{known}, or {clone}'
    return known


def _of_clone(extra: str) -> str | None:
    clone = Path(__file__).resolve().parent.parent
    if not (clone / 'pyproject.toml').is_file():
        return None
    place = '.' if clone == Path(os.path.curdir).resolve() else clone
    return f'pip install -e "{place}[{extra}]"'
