"""Files below a folder of images that a data set would leave out without a word."""

import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence

from mmengine.logging import print_log

from mmdensenet.errors import UserError

from .file_index import OTHER_SUFFIXES
from .table import IMAGE_SUFFIXES


def require_all_images(folder: str, extensions: Sequence[str]) -> None:
    """Warn of images of other kinds than ``extensions``, which mmpretrain's CustomDataset leaves out.

    Args:
        folder: of this machine; any other is not looked at.
        extensions: in lower case, such as '.png'.

    Raises:
        UserError: naming links whose target is gone: their images would be missing from a class.
    """
    dangling, others = [], Counter()
    for entry in _files(folder):
        name = entry.name.lower()
        if name.endswith(tuple(extensions)):
            if entry.is_symlink() and not os.path.exists(entry.path):
                dangling.append(entry.path)
        else:
            ending = next((end for end in (*IMAGE_SUFFIXES, *OTHER_SUFFIXES) if name.endswith(end)), None)
            others.update([ending] if ending else [])
    if dangling:
        first = min(dangling)
        more = f', and {len(dangling) - 1} more such links' if len(dangling) > 1 else ''
        raise UserError(f'{first} is a link to {os.readlink(first)}, which is not there{more}: mend or remove it.')
    if others:
        found = ', '.join(f'{count} {ending}' for ending, count in others.most_common())
        print_log(
            f'{folder}: {found} files are left out, as they are none of extensions={tuple(sorted(extensions))}: '
            'convert them, or name their ending if the pipeline reads them.',
            'current',
            logging.WARNING,
        )


def _files(folder: str) -> Iterator[os.DirEntry]:
    """What is no folder, without what is hidden, as mmengine lists files."""
    folders, seen = [folder] if os.path.isdir(folder) else [], set()
    while folders:
        here = os.path.realpath(folders.pop())  # a link may lead to a folder above itself
        if here in seen:
            continue
        seen.add(here)
        with os.scandir(here) as entries:
            for entry in entries:
                if entry.name.startswith('.'):
                    continue
                if entry.is_dir():
                    folders.append(entry.path)
                else:
                    yield entry
