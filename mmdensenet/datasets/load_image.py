"""Reading images so that each loads right or is named; which is which stands in docs/reliability.md."""

import os
import stat
import struct
from contextlib import suppress
from io import BytesIO

import cv2
import mmcv
import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmengine import fileio
from PIL import Image, ImageOps

from mmdensenet.errors import BadImageError, UserError
from mmdensenet.registry import TRANSFORMS

#: 128 Mi; a photograph of 11,000 x 11,000 still passes
MAX_PIXELS = 1 << 27
_MARKERS_WITH_SIZE = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_START_OF_SCAN = 0xDA
_SUBFILE_TYPE, _REDUCED, _MASK = 254, 1, 4
_BITS_PER_SAMPLE = 258
_PNG = b'\x89PNG\r\n\x1a\n'
_NOT_REGULAR = 'it is not a regular file'
#: a pipe is opened without waiting for its other end; the others are Windows'
_READ_ONLY = os.O_RDONLY | sum(getattr(os, name, 0) for name in ('O_NONBLOCK', 'O_CLOEXEC', 'O_BINARY', 'O_NOINHERIT'))
_JPEG, _JPEG_END = b'\xff\xd8', b'\xff\xd9'


@TRANSFORMS.register_module()
class LoadImage(LoadImageFromFile):
    """mmcv's LoadImageFromFile, which names the file that it cannot read and why.

    Args:
        max_pixels: larger images are refused before they are decoded. A file of some kB may hold gigabytes.
        reduce_to: decode a JPEG at a half, a quarter or an eighth of its size, as long as its short side keeps so many
            pixels. The decoder leaves coefficients out, which is faster and gives other pixels than resizing; so it is
            for training, and refused in the pipelines that a model is judged with. Other formats are read whole.

    Raises:
        BadImageError: naming the file.
    """

    def __init__(self, *args, max_pixels: int = MAX_PIXELS, reduce_to: int | None = None, **kwargs):
        super().__init__(*args, **kwargs)
        if self.ignore_empty:
            raise UserError(
                'LoadImageFromFile: ignore_empty=True puts another image in the place of one that cannot be read. To '
                "go without it set default_hooks.bad_images=dict(type='mmdensenet.BadImagesHook', policy='skip')."
            )
        self.max_pixels = max_pixels
        if reduce_to is not None and reduce_to < 1:
            raise UserError(f'LoadImage reduce_to={reduce_to}: give the pixels that the short side keeps, 1 or more.')
        if reduce_to is not None and (self.imdecode_backend not in (None, 'cv2') or self.color_type == 'unchanged'):
            raise UserError("LoadImage reduce_to is for imdecode_backend='cv2' and color_type='color' or 'grayscale'.")
        self.reduce_to = reduce_to

    def transform(self, results: dict) -> dict:
        path = results['img_path']
        content = read_bytes(path, self.file_client_args, self.backend_args)
        check_content(path, content, self.max_pixels)
        try:
            image = self._decode(path, content)
        except (cv2.error, OSError, ValueError, SyntaxError, MemoryError, Image.DecompressionBombError) as error:
            raise BadImageError.of(path, why_unreadable(content)) from error
        if image is None:
            raise BadImageError.of(path, why_unreadable(content))
        if image.dtype.kind == 'f' and not np.isfinite(image).all():
            raise BadImageError.of(path, 'some of its pixels are not finite (NaN or infinite)')
        if self.to_float32:
            image = image.astype(np.float32)
        results['img'] = image
        results['img_shape'] = results['ori_shape'] = image.shape[:2]
        return results

    def _decode(self, path: str, content: bytes) -> np.ndarray | None:
        flag, backend = self.color_type, self.imdecode_backend
        if self.reduce_to is not None and content.startswith(b'\xff\xd8'):
            return _decode_reduced(content, flag, self.reduce_to)
        with_pillow = (backend or mmcv.image.io.imread_backend) == 'pillow'
        if flag != 'unchanged' and (with_pillow or tiff_pages(content)):
            grey = _deep_grey(path, content, flag)
            if grey is not None and with_pillow:
                return np.stack([grey] * 3, -1) if flag.startswith('color') else grey
        return mmcv.imfrombytes(content, flag=flag, backend=backend)


def _decode_reduced(content: bytes, flag: str, reduce_to: int) -> np.ndarray | None:
    """A JPEG at the smallest of 1, 1/2, 1/4 and 1/8 of its size whose short side has ``reduce_to`` pixels."""
    factor = next((factor for factor in (8, 4, 2) if min(image_size(content)) // factor >= reduce_to), 1)
    colours = 'GRAYSCALE' if flag.startswith('grayscale') else 'COLOR'
    flags = getattr(cv2, f'IMREAD_{colours}' if factor == 1 else f'IMREAD_REDUCED_{colours}_{factor}')
    if flag.endswith('ignore_orientation'):
        flags |= cv2.IMREAD_IGNORE_ORIENTATION
    return cv2.imdecode(np.frombuffer(content, np.uint8), flags)


def _deep_grey(path: str, content: bytes, flag: str) -> np.ndarray | None:
    """A grey image of more than 8 bits as (H, W) uint8, scaled; None for others."""
    with Image.open(BytesIO(content)) as image:
        if not is_deep(image):
            return None
        try:
            return eight_bits(image, orient=not flag.endswith('ignore_orientation'))
        except ValueError as error:
            raise BadImageError.of(path, f"{error}: take mmdensenet's LoadGreyImage") from error


def is_deep(image: Image.Image) -> bool:
    """Whether Pillow has it as grey with more than 8 bits, which ``image.convert`` cuts at 255."""
    return image.mode in ('I', 'F') or image.mode.startswith('I;16')


def eight_bits(image: Image.Image, as_stored: bool = False, orient: bool = True) -> np.ndarray:
    """A deep grey image as (H, W) uint8, scaled as OpenCV scales it.

    Args:
        as_stored: not scaled: uint16, int32 or float32.
        orient: turn it as its EXIF data say.

    Raises:
        ValueError: if there is no range to scale from.
    """
    known = image.mode != 'F' and (image.mode != 'I' or image.format == 'PNG')  # a PNG has at most 16 bits
    if not (known or as_stored):
        raise ValueError(f'its pixels (mode {image.mode}) have no full range to scale from')
    pixels = np.asarray(ImageOps.exif_transpose(image) if orient else image)
    if known:
        pixels = pixels.astype(np.uint16)
    return pixels if as_stored else (pixels // 256).astype(np.uint8)


def read_bytes(path: str, file_client_args: dict | None = None, backend_args: dict | None = None) -> bytes:
    """A file's content: of this machine's file systems directly, else through mmengine's storage back ends.

    Raises:
        BadImageError: with the system's reason, or for a pipe or a device, which may never end.
    """
    try:
        if file_client_args is not None:
            _check_kind(path)
            return fileio.FileClient.infer_client(file_client_args, path).get(path)
        if backend_args or '://' in str(path):
            _check_kind(path)
            return fileio.get(path, backend_args=backend_args)
        return _read_file(path)
    except OSError as error:
        raise BadImageError.of(path, (error.strerror or str(error)).lower()) from error


def _read_file(path: str) -> bytes:
    """mmengine looks for the storage of each path, which takes as long as reading a small file."""
    file = os.open(path, _READ_ONLY)
    try:
        status = os.fstat(file)
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            raise BadImageError.of(path, _NOT_REGULAR)
        content = os.read(file, status.st_size + 1)  # one more byte than there should be: the file may grow
        if len(content) == status.st_size:
            return content
        parts = [content]
        while parts[-1]:
            parts.append(os.read(file, 1 << 30))
        return b''.join(parts)
    finally:
        os.close(file)


def _check_kind(path: str) -> None:
    with suppress(OSError, ValueError):  # not of this file system; or the reader says what is wrong
        mode = os.stat(path).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise BadImageError.of(path, _NOT_REGULAR)


def check_content(path: str, content: bytes, max_pixels: int) -> None:
    """Raise BadImageError if the header states more pixels, or the end is missing. Nothing is decoded."""
    is_jpeg = content.startswith(_JPEG)
    width, height, scan = _jpeg_head(content) if is_jpeg else (*image_size(content), 0)
    if width * height > max_pixels:
        raise BadImageError.of(path, f'{width}x{height} is more than max_pixels={max_pixels:,}')
    if _ends_early(content, scan) if is_jpeg else _is_cut_png(content):
        raise BadImageError.of(path, why_unreadable(content))
    pages = 0 if is_jpeg else tiff_pages(content)
    if pages > 1:
        raise BadImageError.of(path, f'it has {pages} pages, of which only one would be read')


def has_16_bits(content: bytes) -> bool:
    """Whether a PNG or TIFF has 16 bits a channel. Nothing is decoded."""
    if content.startswith(_PNG):
        return len(content) > 24 and content[24] == 16
    if content[:4] in (b'II*\0', b'MM\0*'):
        with suppress(Exception), Image.open(BytesIO(content)) as image:
            return 16 in image.tag_v2.get(_BITS_PER_SAMPLE, ())
    return False


def tiff_pages(content: bytes) -> int:
    """How many images a TIFF holds, without reduced ones and masks; 0 for other formats. Nothing is decoded."""
    if content[:4] not in (b'II*\0', b'MM\0*'):
        return 0
    with suppress(Exception), Image.open(BytesIO(content)) as image:  # PIL's readers raise whatever the bytes lead to
        pages = 0
        for number in range(image.n_frames):
            image.seek(number)
            pages += not image.tag_v2.get(_SUBFILE_TYPE, 0) & (_REDUCED | _MASK)
        return pages
    return 0


def why_unreadable(content: bytes) -> str:
    """Why a file that no decoder takes is no image, for people."""
    if not content:
        return 'the file is empty'
    return 'it is cut short or damaged' if image_size(content) != (0, 0) else 'it is not an image'


def image_size(content: bytes) -> tuple[int, int]:
    """Width and height as a file's header has them, (0, 0) if there is no header of an image. Nothing is decoded."""
    if content.startswith(_PNG) and len(content) >= 24:
        return struct.unpack('>II', content[16:24])
    if content.startswith(b'\xff\xd8'):
        return _jpeg_head(content)[:2]
    try:
        with Image.open(BytesIO(content)) as image:
            return image.size
    except Image.DecompressionBombError:
        return 1 << 20, 1 << 20
    except Exception:  # PIL's readers raise whatever the bytes lead to
        return 0, 0


def is_cut(content: bytes) -> bool:
    """Whether a JPEG or PNG lacks a part, which decoders see late or not at all. Of other formats False."""
    return _is_cut_jpeg(content) or _is_cut_png(content)


def _is_cut_jpeg(content: bytes) -> bool:
    """Whether a JPEG ends before its end marker. OpenCV before version 5 fills such an image up with grey."""
    return content.startswith(_JPEG) and _ends_early(content, _first_scan(content))


def _ends_early(content: bytes, scan: int) -> bool:
    # inside a scan 0xFF is followed by 0, so it is no other byte's half
    return not content.endswith(_JPEG_END, scan) and content.find(_JPEG_END, scan) < 0


def jpeg_scans(content: bytes) -> int:
    """How many scans a JPEG has at most, each of which a decoder takes through the whole image; 0 for other formats.

    To the end of the file: an end marker may stand in a comment between scans, where decoders pass over it.
    """
    if not content.startswith(b'\xff\xd8'):
        return 0
    return content.count(bytes((0xFF, _START_OF_SCAN)), _first_scan(content))


def _first_scan(content: bytes) -> int:
    return _jpeg_head(content)[2]


def _is_cut_png(content: bytes) -> bool:
    """Whether a PNG lacks its header or a part of its chunks, or has a frame outside of the image.

    OpenCV makes room for what a chunk says its length is, up to 2 GB, before it looks whether so much is there.
    """
    if not content.startswith(_PNG):
        return False
    position, width, height = 8, 0, 0
    while position + 12 <= len(content):
        length = int.from_bytes(content[position : position + 4], 'big')
        kind, start = content[position + 4 : position + 8], position + 8
        position += 12 + length
        if position > len(content) or (kind == b'IHDR') != (start == 16):
            return True
        if kind == b'IHDR':
            width, height = struct.unpack('>II', content[16:24])
        elif kind == b'fcTL' and length >= 20:
            w, h, x, y = struct.unpack('>IIII', content[start + 4 : start + 20])
            if x + w > width or y + h > height:
                return True
        elif kind == b'IEND':
            return False
    return True


def _jpeg_head(content: bytes) -> tuple[int, int, int]:
    """Width, height (0, 0 if no segment has them) and where the first scan begins (the end if there is none)."""
    position, end, size = 2, len(content) - 9, None
    while position < end and content[position] == 0xFF:
        marker = content[position + 1]
        if marker == _START_OF_SCAN:
            return *(size or (0, 0)), position
        if size is None and marker in _MARKERS_WITH_SIZE:
            height, width = struct.unpack_from('>HH', content, position + 5)
            size = width, height
        if marker == 0xFF:  # fill byte
            position += 1
        elif marker == 1 or 0xD0 <= marker <= 0xD8:  # without a length
            position += 2
        else:
            position += 2 + (content[position + 2] << 8 | content[position + 3])
    return *(size or (0, 0)), len(content)
