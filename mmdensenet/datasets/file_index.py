"""The images below a folder, found by what a table says of them."""

import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from mmdensenet.errors import UserError

from .class_lists import LEFT_BEHIND
from .table import IMAGE_SUFFIXES

#: endings of images and volumes that are not read
OTHER_SUFFIXES = (
    '.gif', '.heic', '.heif', '.avif', '.jxl', '.jp2', '.jfif', '.svg', '.pdf', '.dng', '.nef', '.cr2', '.raw', '.svs',
    '.npy', '.npz', '.mat', '.nii', '.nii.gz', '.mha', '.mhd', '.nrrd',
)  # fmt: skip


class FileIndex:
    """All image files below ``root``, listed once; ``others`` counts files of other kinds of images by their ending.

    A text finds the file with that path below the root, or with the longest end of it, so that paths from another
    machine (``C:\\data\\train\\a.png``, ``CheXpert-v1.0/train/a.png``) are found too; else the one with that name in
    any folder, with or without its ending (HAM10000's ``ISIC_0027419`` in one of two folders). Accents are compared as
    they look, as macOS writes them in two characters.
    """

    def __init__(self, root: str | Path):
        self.root = Path(root)
        if not self.root.is_dir():
            raise UserError(f'images={root}: there is no such folder.')
        self.others: Counter[str] = Counter()
        self.files = sorted(_walk(self.root, self.others))
        self._there = set(self.files)
        self._by_name: dict[str, list[str]] = defaultdict(list)
        for file in self.files:
            name = PurePosixPath(file).name
            for key in {_composed(name), _composed(_stem(name))}:
                self._by_name[key].append(file)

    def not_read(self) -> str:
        """How many files of other kinds there are, in words, or ''."""
        kinds = ', '.join(f'{count} {ending}' for ending, count in self.others.most_common())
        return kinds and f'{kinds} files are of kinds that are not read: convert them to PNG or DICOM'

    def find(self, text: str) -> str | None:
        """The path below the root, or None.

        Raises:
            UserError: if several files fit equally well.
        """
        parts = [part for part in re.split(r'[\\/]' if '\\' in text else '/', text) if part not in ('', '.')]
        if not parts:
            return None
        if '/'.join(parts) in self._there:
            return '/'.join(parts)
        parts = [_composed(part) for part in parts]
        names = (parts[-1], _stem(parts[-1]), re.sub(r'^(\d+)\.0$', r'\1', parts[-1]))  # 12.0 is the number 12
        found = next((self._by_name[name] for name in names if name in self._by_name), [])
        if len(parts) > 1:  # patient2/view1.png is not patient1/view1.png
            folders = {file: [_composed(part) for part in PurePosixPath(file).parts[:-1]] for file in found}
            common = {file: _common_end(folders[file], parts[:-1]) for file in found}
            best = max(common.values(), default=0)
            if best == 0 and len(found) > 1:
                return None
            found = [file for file in found if common[file] == best]
            whole = [file for file in found if len(folders[file]) == best]  # the text ends with all of its path
            found = whole or (found if best else [])
        if len(found) > 1:
            raise UserError(f'{text} is {found[0]} as well as {found[1]} below {self.root}: write the folder, too.')
        return found[0] if found else None


def _walk(root: Path, others: Counter[str]) -> Iterator[str]:
    seen = set()  # folders, by where links lead: one may lead to a folder above itself
    for folder, folders, names in os.walk(root, followlinks=True):
        where = os.path.realpath(folder)
        if where in seen:
            folders.clear()
            continue
        seen.add(where)
        folders[:] = sorted(name for name in folders if name not in LEFT_BEHIND and not name.startswith('.'))
        below = Path(folder).relative_to(root)
        for name in names:
            if name.startswith('.'):
                continue
            if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES:
                yield (below / name).as_posix()
            else:
                others.update(ending for ending in OTHER_SUFFIXES if name.lower().endswith(ending))


def _composed(name: str) -> str:
    return unicodedata.normalize('NFC', name)


def _stem(name: str) -> str:
    stem, ending = os.path.splitext(name)
    return stem if ending.lower() in IMAGE_SUFFIXES else name


def _common_end(one, other) -> int:
    count = 0
    for here, there in zip(reversed(one), reversed(other)):
        if here != there:
            break
        count += 1
    return count
