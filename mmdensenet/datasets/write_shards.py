"""Writing tar shards for :class:`mmdensenet.datasets.ShardDataset`: each has its name when it is whole."""

import hashlib
import io
import json
import os
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mmdensenet.errors import UserError

from .shard_dataset import FORMAT, read_index, require_whole


def kept_shard(shard: Path, plan: str) -> dict | None:
    """The entry of a shard that an earlier call has written; None if there is none.

    Raises:
        UserError: if it is damaged, or of another plan.
    """
    if not shard.exists():
        return None
    index = read_index(shard.with_suffix('.json'), f'delete {shard} and run the same again')
    if index['plan'] != plan:
        refuse_shard(shard)
    require_whole(shard, index, True)
    return dict(name=shard.name, sha256=index['sha256'], bytes=index['bytes'], samples=len(index['samples']))


def refuse_shard(shard: Path) -> None:
    """Raise the error for a shard that another command has written."""
    raise UserError(f'{shard} is there, of other images or settings than these: give another TARGET, or delete it.')


def write_shard(
    shard: Path, plan: str, first: int, samples: list, contents: Iterable, advance: Callable[[int], None]
) -> dict:
    """Write a shard and its index, and give its entry for the index of the part.

    Args:
        plan: identifies samples and settings, for :func:`kept_shard`.
        first: the number of the first sample, which its key says.
        samples: tuples whose last two are the source's name and the labels.
        contents: of each sample the bytes, and the ending of their name.
    """
    index, digest = [], hashlib.sha256()

    class Sink:
        """Hashes what is written, so that what the disk makes of it cannot become the hash."""

        def write(self, data: bytes) -> int:
            digest.update(data)
            return file.write(data)

    with _whole(shard) as file, tarfile.open(fileobj=Sink(), mode='w|', format=tarfile.USTAR_FORMAT) as tar:
        for number, ((_, _, source, info), (content, ending)) in enumerate(zip(samples, contents, strict=True), first):
            key = f'{number:09d}'
            index.append([source, tar.offset + tarfile.BLOCKSIZE, len(content), zlib.crc32(content), info])
            _add(tar, f'{key}.{ending}', content)
            if set(info) == {'gt_label'} and isinstance(info['gt_label'], int):
                _add(tar, f'{key}.cls', str(info['gt_label']).encode())
            elif info:
                _add(tar, f'{key}.json', json.dumps(info).encode())
            advance(1)
        tar.close()
        size = file.tell()
        entry = dict(sha256=digest.hexdigest(), bytes=size)
        # before the shard has its name, so that one that has it has its index too
        write_json(shard.with_suffix('.json'), dict(format=FORMAT, plan=plan, **entry, samples=index))
    return dict(name=shard.name, **entry, samples=len(index))


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), 0o644
    tar.addfile(member, io.BytesIO(content))


def write_json(file: Path, content: dict) -> None:
    """Write a file of JSON, which appears whole or not at all."""
    with _whole(file) as opened:
        opened.write(json.dumps(content).encode())


@contextmanager
def _whole(path: Path) -> Iterator[io.BufferedWriter]:
    """A file to write, which has its name when it is whole and on the disk."""
    unfinished = path.with_name(f'{path.name}.part')
    try:
        with unfinished.open('wb') as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except OSError as error:
        raise UserError(f'{path} cannot be written: {(error.strerror or str(error)).lower()}.') from error
