"""The command that installs an extra, for how this copy of mmdensenet was installed."""

import importlib.metadata
import json
import os
from pathlib import Path


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
