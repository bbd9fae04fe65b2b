"""Reading every image once: its size, depth and colour, hashes, sums of its pixels, and why it cannot be read."""

import base64
import hashlib
import io
import json
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from mmdensenet.apis.reading_processes import reading_processes
from mmdensenet.datasets.deep_pixels import read_pixels
from mmdensenet.datasets.dicom import LUMINANCE, read_dicom
from mmdensenet.datasets.grey_image import LoadGreyImage
from mmdensenet.datasets.image_header import MAX_PIXELS, is_animated
from mmdensenet.datasets.load_image import read_bytes
from mmdensenet.datasets.near_duplicates import perceptual_hash, thumbnail
from mmdensenet.errors import BadImageError
from mmdensenet.training.launch import core_count

#: an image whose channels differ by at most this is grey: JPEG's rounding
GREY_WITHIN = 12
#: counted up when images are read otherwise, so that what an earlier version has read is read again
READER = 3

#: the properties of an image, as plain data; see :func:`read_picture`
Picture = dict


def read_picture(root: str, file: str) -> Picture:
    """Read one image.

    Returns:
        ``file``, ``stat`` and ``reader``; with ``reason`` if it cannot be read, else ``size`` (height, width),
        ``grey``, ``kind`` ('8', '16' bits a channel, 'dicom'), ``animated``, ``brightest`` pixel as stored,
        ``mean`` and ``square`` (of R, G, B from 0 to 255, and of their squares), ``digest`` of the file, ``hash``
        and ``thumbnail``; of DICOM also ``windowed`` (its mean and mean square through the window that it states, or
        None), ``modality`` and ``patient`` (a hash).

    Raises:
        UserError: if a package is missing that the file needs.
    """
    path = os.path.join(root, file)
    found = dict(file=file, stat=stat_of(path), reader=READER)
    try:
        content = read_bytes(path)
        if _is_dicom(path, content):
            found |= _dicom(path, content)
        else:
            found |= _picture(path, content)
    except BadImageError as error:
        return found | dict(reason=error.reason or str(error))
    return found | dict(digest=hashlib.blake2b(content, digest_size=16).hexdigest())


def read_grey(root: str, file: str) -> np.ndarray:
    """(H, W) float32 from 0 to 255, of which hash and thumbnail are made.

    Raises:
        UserError: for an image that cannot be read.
    """
    path = os.path.join(root, file)
    content = read_bytes(path)
    if _is_dicom(path, content):
        return LoadGreyImage(window='full')._window_dicom(read_dicom(path, content, MAX_PIXELS), path)
    return _luminance(_scaled(_decode(path, content)))


def _is_dicom(path: str, content: bytes) -> bool:
    return content[128:132] == b'DICM' or path.lower().endswith(('.dcm', '.dicom'))


def stat_of(path: str) -> str:
    """Return the size and modification time of a file, which change with its content."""
    try:
        found = os.stat(path)
    except OSError:
        return ''
    return f'{found.st_size}-{found.st_mtime_ns}-{found.st_ctime_ns}-{found.st_ino}'


def _decode(path: str, content: bytes) -> np.ndarray:
    """(H, W) or (H, W, 3) uint8 or uint16."""
    pixels, white = read_pixels(path, content, MAX_PIXELS)
    if pixels.dtype not in (np.uint8, np.uint16):
        raise BadImageError.of(path, f'its pixels are {pixels.dtype}, which have no full range to scale from')
    if white is not None:  # as loaders scale it
        return np.round(pixels * (65535 / white)).clip(0, 65535).astype(np.uint16)
    return pixels


def _scaled(pixels: np.ndarray) -> np.ndarray:
    return pixels.astype(np.float32) * (255 / np.iinfo(pixels.dtype).max)


def _luminance(scaled: np.ndarray) -> np.ndarray:
    return scaled if scaled.ndim == 2 else scaled[..., ::-1] @ np.float32(LUMINANCE)


def _picture(path: str, content: bytes) -> Picture:
    pixels = _decode(path, content)
    grey = pixels.ndim == 2 or bool(
        max(np.ptp(pixels[..., :2].astype(np.int32), -1).max(), np.ptp(pixels[..., 1:3].astype(np.int32), -1).max())
        <= GREY_WITHIN * (257 if pixels.dtype == np.uint16 else 1)
    )
    scaled = _scaled(pixels)
    luminance = _luminance(scaled)
    channels = [luminance] * 3 if grey else [scaled[..., c] for c in (2, 1, 0)]
    return dict(
        **_facts(luminance),
        grey=grey,
        kind='8' if pixels.dtype == np.uint8 else '16',
        animated=is_animated(content),
        brightest=int(pixels.max()),
        mean=[float(c.mean()) for c in channels],
        square=[float((c.astype(np.float64) ** 2).mean()) for c in channels],
    )


def _dicom(path: str, content: bytes) -> Picture:
    file = read_dicom(path, content, MAX_PIXELS)
    from pydicom import dcmread

    header = dcmread(io.BytesIO(content), force=True, stop_before_pixels=True, specific_tags=['PatientID', 'Modality'])
    load = LoadGreyImage(window='full')
    image = load._window_dicom(file, path)
    windowed = None
    if file.windowed is not None:
        shown = LoadGreyImage(window='dicom')._window_dicom(file, path).astype(np.float64)
        windowed = [float(shown.mean()), float((shown**2).mean())]
    patient = str(header.get('PatientID') or '')
    return dict(
        **_facts(image),
        grey=True,
        kind='dicom',
        brightest=float(file.pixels.max()),
        mean=[float(image.mean())] * 3,
        square=[float((image.astype(np.float64) ** 2).mean())] * 3,
        windowed=windowed,
        modality=str(header.get('Modality') or ''),
        patient=hashlib.blake2b(patient.encode(), digest_size=8).hexdigest() if patient else '',
    )


def _facts(luminance: np.ndarray) -> Picture:
    return dict(
        size=list(luminance.shape[:2]),
        hash=perceptual_hash(luminance),
        thumbnail=base64.b64encode(thumbnail(luminance).tobytes()).decode(),
    )


def thumbnails_of(pictures: Sequence[Picture]) -> np.ndarray:
    """(N, 256) uint8."""
    return np.array([np.frombuffer(base64.b64decode(p['thumbnail']), np.uint8) for p in pictures], np.uint8)


def read_pictures(
    root: str, files: Sequence[str], cache: Path, progress: Callable[[int, int], None], workers: int | None = None
) -> list[Picture]:
    """All images, in parallel. What is read is in ``cache`` at once, one JSON object a line: the next call reads the
    rest, what has changed since, and what could not be read: another reason than the file may have been put right.

    Raises:
        UserError: if a package is missing, or a process is killed.
    """
    known: dict[str, Picture] = {}
    if cache.is_file():
        for line in cache.read_text(encoding='utf-8').splitlines():
            try:
                picture = json.loads(line)
            except ValueError:  # the last line of a run that was killed
                continue
            if picture.get('reader') == READER and 'reason' not in picture:
                known[picture['file']] = picture
    rest = [f for f in files if f not in known or known[f]['stat'] != stat_of(os.path.join(root, f))]
    if rest:
        if cache.is_file() and not cache.read_bytes().endswith(b'\n'):
            with cache.open('a') as out:
                out.write('\n')
        done = len(files) - len(rest)
        with cache.open('a', encoding='utf-8') as out:
            for picture in _read_all(root, rest, workers):
                known[picture['file']] = picture
                out.write(json.dumps(picture) + '\n')
                done += 1
                progress(done, len(files))
    return [known[file] for file in files]


def _read_all(root: str, files: list[str], workers: int | None):
    read = partial(read_picture, root)
    workers = min(core_count() if workers is None else workers, len(files) // 64)
    with reading_processes(workers if workers > 1 else 0, 'run it again, it goes on where it was') as spread:
        yield from spread(read, files, chunksize=16)
