"""Shortens paths on a page that others read, so that it does not show the folders of the machine."""

import re
from collections.abc import Mapping
from copy import deepcopy
from pathlib import PurePosixPath, PureWindowsPath

from mmengine.config import Config


def short_path(path: str, parts: int = 1) -> str:
    """The last ``parts`` of an absolute path of any system or file:// URL; other paths unchanged."""
    local = path.removeprefix('file://')
    pure = PureWindowsPath(local) if re.match(r'[A-Za-z]:[\\/]|\\\\', local) else PurePosixPath(local)
    if path.startswith(('~', 'file://')) or pure.is_absolute():
        return '/'.join(pure.parts[1:][-parts:])
    return path


def without_paths(text: str) -> str:
    """A sentence, such as an error's, with its absolute paths shortened by :func:`short_path`."""
    return re.sub(r'(?<![\w:/.<])(?:file://)?(?:/[\w.~@+-]+){2,}', lambda found: short_path(found[0]), text)


def without_folders(cfg: Config) -> Config:
    """A copy of the config with its absolute paths shortened by :func:`short_path`."""
    copied = Config(_shorten(deepcopy(cfg.to_dict())))
    if cfg.filename:
        object.__setattr__(copied, '_filename', short_path(cfg.filename))
    return copied


def _shorten(value):
    if isinstance(value, Mapping):
        return {key: _shorten(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(_shorten, value))
    return short_path(value) if isinstance(value, str) else value
