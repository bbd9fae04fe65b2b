"""mmdensenet's own config files, found without importing it."""

import importlib.util
from pathlib import Path

from .answer import CommandError


def config_folder() -> Path:
    """Return the folder of mmdensenet's own configs.

    Raises:
        CommandError: if there is none.
    """
    spec = importlib.util.find_spec('mmdensenet')  # of a package without parents: imports nothing
    if spec and spec.origin:
        package = Path(spec.origin).parent
        for folder in (package / '.mim' / 'configs', package.parent / 'configs'):  # installed; a clone that is not
            if (folder / '_base_').is_dir():
                return folder
    raise CommandError('mmdensenet is not installed here, or without its configs: install it again.')


def config_names() -> list[str]:
    return sorted(file.stem for file in config_folder().glob('*.py'))


def complete_config(prefix: str, **_) -> list[str]:
    """Complete a config for a shell: our configs by name, and the user's files."""
    from argcomplete.completers import FilesCompleter

    return [*(f'mmdensenet::{name}' for name in config_names()), *FilesCompleter(('py', 'yaml', 'json'))(prefix)]
