"""Paths on a page that is sent to others: names, without the folders of the machine that wrote it."""

from collections.abc import Mapping
from copy import deepcopy
from pathlib import PurePath

from mmengine.config import Config


def short_path(path: str, parts: int = 1) -> str:
    """The last ``parts`` of an absolute path; URLs and relative paths as they are."""
    pure = PurePath(path)
    if path.startswith('~') or pure.is_absolute():
        return '/'.join(pure.parts[1:][-parts:])
    return path


def without_folders(cfg: Config) -> Config:
    """A copy of the config with absolute paths :func:`short_path`."""
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
