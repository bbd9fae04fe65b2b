"""Find the installed foundation of mmdensenet: OpenMMLab's packages, or the OneDL forks.

Several distributions bring a module of the same name, and pip installs one over the other without a word. So none of
them is a dependency of mmdensenet, only of its extras ``lite``, ``openmmlab`` and ``onedl``.

``mmdensenet info`` runs this file by itself, where importing mmdensenet fails: it needs Python's library alone.
"""

import importlib.metadata
import importlib.util

#: import name -> distributions that bring it
FOUNDATION = {
    'mmengine': ('mmengine', 'mmengine-lite', 'onedl-mmengine'),
    'mmpretrain': ('mmpretrain', 'onedl-mmpretrain'),
    'mmcv': ('mmcv', 'mmcv-lite', 'onedl-mmcv'),
}
INSTALL = (
    'pip install "mmdensenet[lite]" (OpenMMLab\'s packages, enough for classification), or beside a full mmcv '
    'pip install "mmdensenet[openmmlab]", or pip install "mmdensenet[onedl]" mmcv-lite (the OneDL forks)'
)


def versions(distributions: tuple[str, ...]) -> str:
    """Return the installed ones with their versions. Two with the same module overwrite each other's files."""
    there = []
    for name in distributions:
        try:
            there.append(f'{name} {importlib.metadata.version(name)}')
        except importlib.metadata.PackageNotFoundError:
            continue
    return ', '.join(there)


def describe() -> str:
    """'mmengine 0.10.7, mmpretrain 1.2.0, mmcv-lite 2.2.0'."""
    return ', '.join(filter(None, map(versions, FOUNDATION.values())))


def what_is_missing() -> str | None:
    """Return what to install where mmengine or mmpretrain is missing; else None."""
    missing = [module for module in ('mmengine', 'mmpretrain') if importlib.util.find_spec(module) is None]
    return f'mmdensenet needs {" and ".join(missing)}: {INSTALL}.' if missing else None


def overwritten() -> list[str]:
    """Distributions that were installed over each other, in one folder: their files may be of either."""
    found = []
    for module, names in FOUNDATION.items():
        folders: dict[str, list[str]] = {}
        for name in names:
            try:
                folder = importlib.metadata.distribution(name).locate_file(module)
            except importlib.metadata.PackageNotFoundError:
                continue
            folders.setdefault(str(folder), []).append(name)
        found += [' and '.join(several) for several in folders.values() if len(several) > 1]
    return found
