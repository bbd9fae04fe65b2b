"""The images below a folder, found by what a table says of them."""

import filecmp
import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from itertools import takewhile
from pathlib import Path, PurePosixPath

from mmdensenet.errors import UserError

from .class_lists import LEFT_BEHIND
from .table import IMAGE_SUFFIXES

#: endings of images and volumes that are not read
OTHER_SUFFIXES = (
    '.gif', '.heic', '.heif', '.avif', '.jxl', '.jp2', '.jfif', '.svg', '.pdf', '.dng', '.nef', '.cr2', '.raw', '.svs',
    '.npy', '.npz', '.mat', '.nii', '.nii.gz', '.mha', '.mhd', '.nrrd',
)  # fmt: skip


#: a file of fit's work directories, whose pictures are no data
WORK_DIR_HAS = 'pictures.jsonl'


class FileIndex:
    """All image files below ``root``, listed once; ``others`` counts files of other kinds of images by their ending.

    A text finds the file with that path below the root, or with the longest end of it, so that paths from another
    machine (``C:\\data\\train\\a.png``, ``CheXpert-v1.0/train/a.png``) are found too; else the one with that name in
    any folder, with or without its ending (HAM10000's ``ISIC_0027419`` in one of two folders). ``a.jpg`` is ``a.png``
    only where no file is called .jpg: beside such files it may be the mask of an image that is missing. Accents are
    compared as they look, as macOS writes them in two characters; capitals matter only where both ways are there, as
    Windows does not tell them apart. Of files with the same content, as HAM10000 is handed around, the first stands
    for all.
    """

    def __init__(self, root: str | Path):
        self.root = Path(root)
        if not self.root.is_dir():
            raise UserError(f'images={root}: there is no such folder.')
        self.others: Counter[str] = Counter()
        self.files = sorted(image_files(self.root, others=self.others))
        self._there = set(self.files)
        self._endings = {PurePosixPath(file).suffix.lower() for file in self.files}
        self._by_name = self._named(_composed)

    @cached_property
    def _by_folded_name(self) -> dict[str, list[str]]:
        return self._named(_folded)

    def _named(self, same: Callable[[str], str]) -> dict[str, list[str]]:
        """Files by their names as they are compared, with and without endings."""
        found = defaultdict(list)
        for file in self.files:
            name = PurePosixPath(file).name
            for key in {same(name), same(_stem(name))}:
                found[key].append(file)
        return found

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
        found = self._fitting(parts, self._by_name, _composed)
        found = found or self._fitting(parts, self._by_folded_name, _folded)
        first, *others = found or [None]
        if not all(filecmp.cmp(self.root / first, self.root / other, shallow=False) for other in others):
            raise UserError(f'{text} is {first} as well as {others[0]} below {self.root}: write the folder, too.')
        return first

    def _fitting(self, parts: list[str], by_name: dict[str, list[str]], same: Callable[[str], str]) -> list[str]:
        """The files with the longest common end with the path of these ``parts``."""
        *above, name = map(same, parts)
        stem = _stem(name)
        found = by_name.get(name) or by_name.get(re.sub(r'^(\d+)\.0$', r'\1', name), [])  # 12.0 is the number 12
        if not found and stem != name:
            ending = name[len(stem) :].lower()
            found = by_name.get(stem, [])
            found = [file for file in found if file.lower().endswith(ending) or ending not in self._endings]
        if not above:
            return found
        # patient2/view1.png is not patient1/view1.png
        folders = {file: [same(part) for part in PurePosixPath(file).parts[:-1]] for file in found}
        common = {file: _common_end(folders[file], above) for file in found}
        best = max(common.values(), default=0)
        if best == 0 and len(found) > 1:
            return []
        found = [file for file in found if common[file] == best]
        whole = [file for file in found if len(folders[file]) == best]  # the text ends with all of its path
        return whole or (found if best else [])


def image_files(
    root: Path, endings: Iterable[str] = IMAGE_SUFFIXES, others: Counter[str] | None = None
) -> Iterator[str]:
    """The paths below ``root`` of what is called as an image, and of DICOM files without an ending, as scanners write
    them; not of what is hidden, left behind by programs, or in a work directory of fit.

    Args:
        others: counts files of :data:`OTHER_SUFFIXES`.
    """
    endings = tuple(endings)
    seen = set()  # folders, by where links lead: one may lead to a folder above itself
    for folder, folders, names in os.walk(root, followlinks=True):
        where = os.path.realpath(folder)
        if where in seen:
            folders.clear()
            continue
        seen.add(where)
        if WORK_DIR_HAS in names and len(seen) > 1:
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if name not in LEFT_BEHIND and not name.startswith('.'))
        below = Path(folder).relative_to(root)
        for name in names:
            if name.startswith('.'):
                continue
            if name.lower().endswith(endings) or _is_bare_dicom(os.path.join(folder, name)):
                yield (below / name).as_posix()
            elif others is not None:
                others.update(ending for ending in OTHER_SUFFIXES if name.lower().endswith(ending))


def _is_bare_dicom(file: str) -> bool:
    """Whether a file is called IM000001 or by a UID, and is DICOM by its preamble; a DICOMDIR lists others."""
    name = os.path.basename(file)
    if not re.fullmatch(r'|\.\d+', os.path.splitext(name)[1]) or name.upper() == 'DICOMDIR':
        return False
    try:
        if os.path.isfile(file):  # a pipe may never end
            with open(file, 'rb') as head:
                return head.read(132)[128:] == b'DICM'
    except OSError:
        pass
    return False


def _composed(name: str) -> str:
    return unicodedata.normalize('NFC', name)


def _folded(name: str) -> str:
    return _composed(name).casefold()


def _stem(name: str) -> str:
    stem, ending = os.path.splitext(name)
    return stem if ending.lower() in IMAGE_SUFFIXES else name


def _common_end(one, other) -> int:
    pairs = zip(reversed(one), reversed(other))
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
