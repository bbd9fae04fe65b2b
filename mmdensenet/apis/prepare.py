"""A copy of a config's data sets for training: tar shards with an index, for ``mmdensenet.ShardDataset``."""

from __future__ import annotations

import copy
import hashlib
import io
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope
from PIL import Image

from mmdensenet.datasets import LoadImage
from mmdensenet.datasets.class_lists import class_lists, require_same_classes
from mmdensenet.datasets.image_header import has_16_bits, image_size
from mmdensenet.datasets.in_memory import in_memory
from mmdensenet.datasets.labels import FIELDS
from mmdensenet.datasets.load_image import read_bytes
from mmdensenet.datasets.shard_dataset import FORMAT
from mmdensenet.datasets.wrappers import all_datasets, named_leaves, sample_info
from mmdensenet.datasets.write_shards import kept_shard, refuse_shard, write_json, write_shard
from mmdensenet.errors import BadImageError, UserError

from .reading_processes import reading_processes
from .runner import open_config, prepare_data
from .verify import SPLITS, worker_count

#: formats and modes of Pillow's whose pixels have 8 bits at most; a JPEG of 12 is none that OpenCV decodes
EIGHT_BIT_FORMATS = ('JPEG', 'MPO', 'PNG', 'WEBP', 'BMP', 'GIF', 'TIFF')
EIGHT_BIT_MODES = ('1', 'L', 'LA', 'P', 'PA', 'RGB', 'RGBA', 'RGBX', 'CMYK', 'YCbCr')


@dataclass
class Part:
    """A part of the data, such as the training part, and its shards.

    Attributes:
        split: 'train', 'val' or 'test'.
        metainfo: the data set's, with the names of the classes.
        samples: of each its number among the readers, path, name in the index, and labels and what else it has.
        readers: the loading step of each data set inside.
        short_side: None for images that are copied byte for byte.
        quality: of the JPEGs that are written, 1 to 100.
        repeated_by: the wrappers that repeat samples, which belong round the copy.
        shards, kept, size: how many shards there are, how many of them were there already, and their bytes.
    """

    split: str
    metainfo: dict
    samples: list[tuple[int, str, str, dict]]
    readers: list
    short_side: int | None
    quality: int
    repeated_by: list[str]
    shards: int = 0
    kept: int = 0
    size: int = 0


def prepare_dataset(
    config: str | Config,
    target: str | os.PathLike,
    *,
    splits: Sequence[str] | None = None,
    short_side: int = 256,
    quality: int = 95,
    raw: bool = False,
    shard_size: int = 4096,
    workers: int | None = None,
    cfg_options: dict | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Part]:
    """Copy the images and labels of a config's data sets into tar shards.

    ``target`` gets ``SPLIT-NUMBER.tar`` (KEY.jpg, and KEY.cls or KEY.json with the label, as WebDataset reads them),
    ``SPLIT-NUMBER.json`` (where each image is, its checksum and labels, the shard's SHA-256) and, last, ``SPLIT.json``.
    A shard has its name when it is whole; shards that are there and whole are kept, so that the same call goes on.

    Args:
        config: path of a config file, 'mmdensenet::NAME', or a loaded config.
        target: folder for the shards.
        splits: 'train', 'val', 'test'; by default the first two, if the config has them.
        short_side: training images that are larger are made smaller, to so many pixels on the shorter side, and
            written as JPEG. Smaller ones, and all images of the other parts, are copied byte for byte.
        quality: of the JPEGs, 1 to 100.
        raw: copy the training images byte for byte too.
        shard_size: images in a shard.
        workers: processes; by default one per core. 0 reads in this process.
        cfg_options: dotted keys to values, which override the config.
        progress: called with the numbers of images done and of all images.

    Returns:
        What was copied of each part.

    Raises:
        UserError: for data sets that cannot be copied so that they read the same, images that would lose depth, shards
            of another data set or other settings in ``target``, and damaged ones.
        BadImageError: for an image that cannot be read.
    """
    for name, value in (('short_side', short_side), ('quality', quality), ('shard_size', shard_size)):
        if value < 1 or (name == 'quality' and value > 100):
            raise UserError(f'{name}={value}: give 1 {"to 100" if name == "quality" else "or more"}.')
    worker_count(workers, 0)  # names a mistake before the data are read
    cfg = open_config(config, cfg_options)
    DefaultScope.get_instance('prepare_dataset', scope_name=cfg.get('default_scope') or 'mmengine')
    there = [split for split in SPLITS if (cfg.get(f'{split}_dataloader') or {}).get('dataset') is not None]
    splits = list(dict.fromkeys(splits or [split for split in there if split != 'test']))
    if not splits or set(splits) - set(there):
        missing = (set(splits) - set(there) or {'train'}).pop()
        raise UserError(f'splits={missing}: the config has no {missing}_dataloader with a data set.')
    prepare_data(cfg, *(f'{split}_dataloader' for split in splits))
    parts, lists = [], []
    for split in splits:
        key = f'{split}_dataloader.dataset'
        dataset = DATASETS.build(cfg[f'{split}_dataloader'].dataset)
        lists += class_lists(dataset, key)
        parts.append(_plan(split, key, dataset, None if raw or split != 'train' else short_side, quality))
    require_same_classes(lists)
    target = Path(target)
    total = sum(len(part.samples) for part in parts)
    done = 0

    def advance(more: int) -> None:
        nonlocal done
        done += more
        if progress is not None:
            progress(done, total)

    with reading_processes(worker_count(workers, total)) as spread:
        for part in parts:
            _write_part(part, target, shard_size, spread, advance)
    return parts


# ---------------------------------------------------------------------------------------------------------------------
# Plans of the parts


def _plan(split: str, key: str, dataset, short_side: int | None, quality: int) -> Part:
    samples, readers, metainfo = [], [], {}
    for number, (name, leaf) in enumerate(named_leaves(dataset, key)):
        for field, value in (getattr(leaf, 'metainfo', None) or {}).items():
            if field not in metainfo and _is_plain(value := _plain(value)):
                metainfo[field] = value
        root = str(getattr(leaf, 'data_root', '') or '')
        for index in range(len(leaf)):
            info = dict(sample_info(leaf, index))
            path = info.pop('img_path', None)
            if path is None or 'img' in info:
                raise UserError(f'{name}: {type(leaf).__name__} has its images in memory: there is nothing to prepare.')
            if 'slice' in info:
                raise UserError(f'{name}: its samples are slices of volumes, as {path}, which no shard holds.')
            info = {k: _plain(v) for k, v in info.items() if k != 'sample_idx' and not (k in FIELDS and v is None)}
            odd = next((field for field, value in info.items() if not _is_plain(value)), None)
            if odd is not None:
                raise UserError(f'{name}: {path} has {odd}={info[odd]!r}, which an index of shards cannot hold.')
            below = bool(root) and str(path).startswith(os.path.join(root, ''))
            samples.append((number, str(path), os.path.relpath(path, root) if below else str(path), info))
        readers.append(_reader(name, leaf, short_side))
    if not samples:
        raise UserError(f'{key} has no images.')
    repeated_by = [type(found).__name__ for found in all_datasets(dataset) if hasattr(found, '_get_ori_dataset_idx')]
    repeated_by = [name for name in repeated_by if name not in ('ConcatDataset', 'KFoldDataset')]
    return Part(split, metainfo, samples, readers, short_side, quality, repeated_by)


def _plain(value):
    """Arrays and tuples as lists, numpy's numbers as Python's."""
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _is_plain(value) -> bool:
    if isinstance(value, list):
        return all(_is_plain(item) for item in value)
    return value is None or isinstance(value, (bool, int, float, str))


def _reader(name: str, leaf, short_side: int | None):
    """The step of a data set's pipeline that reads its files.

    Raises:
        UserError: if images are to be made smaller, and the step reads them otherwise than in 8 bits.
    """
    steps = getattr(getattr(leaf, 'pipeline', None), 'transforms', None) or [LoadImage()]
    step = next((step for step in steps if 'Load' in type(step).__name__), steps[0])
    if short_side is not None and (not isinstance(step, LoadImage) or step.color_type == 'unchanged'):
        raise UserError(
            f'{name}: its pipeline reads files with {type(step).__name__}'
            f'{" as they are" if isinstance(step, LoadImage) else ""}, for which a JPEG may lose depth or channels: '
            'copy them with raw=True.'
        )
    return step


# ---------------------------------------------------------------------------------------------------------------------
# Images


def _content(readers: list, short_side: int | None, quality: int, sample: tuple[int, str]) -> tuple[bytes, str]:
    """The bytes of an image as they are written, and the ending of their name."""
    number, path = sample
    step = readers[number]
    content = read_bytes(path, getattr(step, 'file_client_args', None), getattr(step, 'backend_args', None))
    if short_side is None or 0 < min(image_size(content)) <= short_side:
        return content, _ending(path, content)
    _require_8_bits(path, content)
    loader = copy.copy(step)
    loader.reduce_to, loader.to_float32, loader.file_client_args, loader.backend_args = None, False, None, None
    with in_memory(content) as name:
        try:
            image = loader(dict(img_path=name))['img']  # upright, where the pipeline turns images
        except BadImageError as error:
            raise BadImageError.of(path, error.reason) from error
    height, width = image.shape[:2]
    scale = short_side / min(height, width)
    size = tuple(max(short_side, round(length * scale)) for length in (width, height))
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    if image.ndim == 3 and (image == image[..., :1]).all():  # grey stays grey
        image = np.ascontiguousarray(image[..., 0])
    return cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes(), 'jpg'


def _require_8_bits(path: str, content: bytes) -> None:
    try:
        with Image.open(io.BytesIO(content)) as image:
            fits = image.format in EIGHT_BIT_FORMATS and image.mode in EIGHT_BIT_MODES and not has_16_bits(content)
    except Exception:  # PIL's readers can raise anything; the pipeline's reader names the fault
        fits = image_size(content) == (0, 0)
    if not fits:
        raise UserError(f'{path} may have more than the 8 bits of a JPEG: copy the images with raw=True.')


def _ending(path: str, content: bytes) -> str:
    if content.startswith(b'\xff\xd8'):
        return 'jpg'
    if content.startswith(b'\x89PNG'):
        return 'png'
    ending = ''.join(Path(path).suffixes[-2:] if path.lower().endswith('.nii.gz') else Path(path).suffixes[-1:])
    return ending.lstrip('.').lower() or 'bin'


# ---------------------------------------------------------------------------------------------------------------------
# Shards


def _write_part(part: Part, target: Path, shard_size: int, spread: Callable, advance: Callable[[int], None]) -> None:
    starts = range(0, len(part.samples), shard_size)
    names = [f'{part.split}-{number:06d}.tar' for number in range(len(starts))]
    settings = [part.short_side, part.short_side and part.quality, shard_size, part.metainfo]
    settings.append([getattr(reader, 'color_type', '') for reader in part.readers])
    others = {file.name for file in target.glob(f'{part.split}-*.tar')} - set(names)
    if others:
        refuse_shard(target / min(others))
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f'{target} cannot be made: {(error.strerror or str(error)).lower()}.') from error
    read = partial(_content, part.readers, part.short_side, part.quality)
    entries = []
    for name, start in zip(names, starts):
        samples = part.samples[start : start + shard_size]
        plan = hashlib.sha256(json.dumps([settings, start, [sample[2:] for sample in samples]]).encode()).hexdigest()
        entry = kept_shard(target / name, plan)
        part.kept += entry is not None
        if entry is None:
            contents = spread(read, [sample[:2] for sample in samples], chunksize=8)
            entry = write_shard(target / name, plan, start, samples, contents, advance)
        else:
            advance(len(samples))
        entries.append(entry)
    part.shards, part.size = len(entries), sum(entry['bytes'] for entry in entries)
    about = dict(split=part.split, samples=len(part.samples), short_side=part.short_side, metainfo=part.metainfo)
    write_json(target / f'{part.split}.json', dict(format=FORMAT, **about, shards=entries))
