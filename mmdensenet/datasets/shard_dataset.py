"""Images in tar shards, as ``mmdensenet prepare`` writes them, read one by one from where they are in a shard."""

import errno
import functools
import hashlib
import json
import os
import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import numpy as np
from mmengine import fileio
from mmpretrain.datasets import BaseDataset

from mmdensenet.errors import UserError
from mmdensenet.registry import DATASETS

from .labels import POSITIVE_ABOVE
from .stated_classes import class_names

#: version of the index files
FORMAT = 1
#: shards that a process keeps open
OPEN_SHARDS = 128
_PREFIX = 'shard'
_PATH = re.compile(rf'{_PREFIX}://(?P<shard>.*)\?(?P<start>\d+)\+(?P<length>\d+)\+(?P<crc>[0-9a-f]{{8}})#[^?#]*', re.S)


@DATASETS.register_module()
class ShardDataset(BaseDataset):
    """A part of a data set in tar shards. Samples, labels and classes are those of the source, in its order.

    Loading steps read an image's bytes under the path that a sample has as ``img_path``: shard, place, checksum and the
    name of the source. Every read is checked with the checksum.

    Args:
        data_root: the folder with the shards, the TARGET of ``mmdensenet prepare``.
        split: the part: ``SPLIT.json`` in it lists the shards.
        check_hashes: compare each shard's SHA-256 before it is used, for which all of it is read.

    Raises:
        UserError: naming the index or the shard that is missing or not as it was written.
    """

    def __init__(self, data_root: str, split: str = 'train', *, check_hashes: bool = False, **kwargs):
        self.check_hashes = check_hashes
        super().__init__(ann_file=f'{split}.json', data_root=os.path.expanduser(data_root), **kwargs)

    def load_data_list(self) -> list[dict]:
        index = read_index(self.ann_file, 'write it with `mmdensenet prepare CONFIG TARGET`')
        self._take_metainfo(index['metainfo'])
        samples = []
        for entry in index['shards']:
            shard = Path(self.ann_file).parent / entry['name']
            require_whole(shard, entry, self.check_hashes)
            samples += self._samples(shard, entry)
        if len(samples) != index['samples']:
            raise UserError(f'{self.ann_file} is of {index["samples"]} samples, and its shards have {len(samples)}.')
        return samples

    def _take_metainfo(self, written: dict) -> None:
        stated = class_names(self._metainfo.get('classes'))
        classes = written.get('classes')
        if stated is not None and classes is not None and list(stated) != classes:
            raise UserError(f'{self.ann_file} has other classes than the config states: leave these out.')
        for key, value in written.items():
            self._metainfo.setdefault(key, tuple(value) if key == 'classes' else value)

    @staticmethod
    def _samples(shard: Path, entry: dict) -> list[dict]:
        file = shard.with_suffix('.json')
        index = read_index(file, 'prepare the data set again')
        if index['sha256'] != entry['sha256']:
            raise UserError(f'{file} is of another {shard.name} than this one: prepare the data set again.')
        samples = []
        for source, start, length, crc, info in index['samples']:
            path = f'{_PREFIX}://{shard}?{start}+{length}+{crc:08x}#{quote(source)}'
            samples.append(dict(info, img_path=path))
            if 'gt_score' in info:
                samples[-1]['gt_score'] = np.array(info['gt_score'], np.float32)
        return samples

    def get_cat_ids(self, idx: int) -> list[int]:
        """The class, or the positive labels."""
        info = self.get_data_info(idx)
        if 'gt_score' in info:
            return np.flatnonzero(info['gt_score'] > POSITIVE_ABOVE).tolist()
        return list(info['gt_label']) if isinstance(info['gt_label'], Sequence) else [info['gt_label']]


def read_index(file: str | Path, hint: str) -> dict:
    """An index: of a part (SPLIT.json), or of a shard (SPLIT-NUMBER.json).

    Raises:
        UserError: naming the file that is missing, or that is no such index.
    """
    try:
        index = json.loads(Path(file).read_bytes())
    except FileNotFoundError:
        raise UserError(f'{file} does not exist: {hint}.') from None
    except (OSError, ValueError) as error:
        raise UserError(f'{file} is damaged ({error}): {hint}.') from error
    if not isinstance(index, dict) or index.get('format') != FORMAT:
        raise UserError(f'{file} is no index of shards that this version reads: {hint}.')
    return index


def require_whole(shard: Path, entry: dict, check_hash: bool) -> None:
    """Raise UserError unless a shard has the size, and the SHA-256 if that is to be checked, that ``entry`` states."""
    try:
        size = shard.stat().st_size
        digest = sha256(shard) if check_hash and size == entry['bytes'] else entry['sha256']
    except OSError as error:
        raise UserError(f'{shard} cannot be read: {(error.strerror or str(error)).lower()}.') from error
    if size != entry['bytes']:
        raise UserError(f'{shard} has {size} bytes, not {entry["bytes"]}: copy it again, or delete and prepare it.')
    if digest != entry['sha256']:
        raise UserError(f'{shard} is damaged (its SHA-256 is another): copy it again, or delete and prepare it.')


def sha256(file: Path) -> str:
    with file.open('rb') as opened:
        return hashlib.file_digest(opened, 'sha256').hexdigest()


class _OpenFile:
    """A file that is open for reading until nothing refers to it."""

    def __init__(self, path: str):
        self.number = os.open(path, os.O_RDONLY | getattr(os, 'O_BINARY', 0) | getattr(os, 'O_CLOEXEC', 0))

    def read(self, start: int, length: int) -> bytes:
        # without a position that threads, or processes that were forked, would share
        return os.pread(self.number, length, start)

    def __del__(self):
        if hasattr(self, 'number'):
            os.close(self.number)


_open = functools.lru_cache(maxsize=OPEN_SHARDS)(_OpenFile)


class ShardBackend(fileio.BaseStorageBackend):
    """Reads the images that :class:`ShardDataset` lists, for any step that reads files with mmengine's fileio."""

    def get(self, filepath: str) -> bytes:
        """The bytes of an image.

        Raises:
            OSError: if they cannot be read or are not those that were written.
        """
        found = _PATH.fullmatch(str(filepath))
        if found is None:
            raise FileNotFoundError(errno.ENOENT, 'no image of a shard', str(filepath))
        start, length = int(found['start']), int(found['length'])
        content = _open(found['shard']).read(start, length)
        if len(content) != length or zlib.crc32(content) != int(found['crc'], 16):
            raise OSError(errno.EIO, 'its shard is damaged: copy it again', str(filepath))
        return content

    def get_text(self, filepath: str, encoding: str = 'utf-8') -> str:
        return self.get(filepath).decode(encoding)


fileio.register_backend('mmdensenet.shard', ShardBackend, force=True, prefixes=_PREFIX)
