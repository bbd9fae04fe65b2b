"""Reading images so that each loads right or is named; which is which stands in docs/reliability.md."""

import os
import stat
from contextlib import suppress
from io import BytesIO

import cv2
import mmcv
import numpy as np
from mmcv.image.io import imread_flags
from mmcv.transforms import LoadImageFromFile
from mmengine import fileio
from PIL import Image, ImageOps

from mmdensenet.errors import BadImageError, UserError
from mmdensenet.registry import TRANSFORMS

from .decode_jpeg import decode_jpeg
from .deep_pixels import needs_own_depth, read_8_bits
from .image_header import MAX_PIXELS, check_content, image_size, why_unreadable
from .tiff_header import BITS, PHOTOMETRIC, WHITE_IS_ZERO, require_known_pixels, tiff_pages

#: bytes that are read before a file's kind and length are asked for
_SMALL = 1 << 16
#: a pipe is opened without waiting for its other end; the others are Windows'
_READ_ONLY = os.O_RDONLY | sum(getattr(os, name, 0) for name in ('O_NONBLOCK', 'O_CLOEXEC', 'O_BINARY', 'O_NOINHERIT'))


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
        flag, backend = self.color_type, self.imdecode_backend or mmcv.image.io.imread_backend
        is_jpeg = content.startswith(b'\xff\xd8')
        if is_jpeg and self.reduce_to is not None:
            return _decode_reduced(content, flag, self.reduce_to)
        if is_jpeg and backend == 'cv2':
            return decode_jpeg(content, imread_flags.get(flag, flag))
        if flag != 'unchanged' and not is_jpeg:  # of which decoders take no more than 8 bits
            for page in tiff_pages(content)[:1]:
                require_known_pixels(path, page, deep=False)
            if needs_own_depth(content):
                return read_8_bits(path, content, self.max_pixels, flag)
            if backend == 'pillow':
                grey = _deep_grey(path, content, flag)
                if grey is not None:
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
    # a PNG has at most 16 bits, and those of a PNM file are scaled to 16 by Pillow
    known = image.mode != 'F' and (image.mode != 'I' or image.format in ('PNG', 'PPM'))
    if not (known or as_stored):
        raise ValueError(f'its pixels (mode {image.mode}) have no full range to scale from')
    pixels = np.asarray(ImageOps.exif_transpose(image) if orient else image)
    if known:
        pixels = pixels.astype(np.uint16)
    if known and getattr(image, 'tag_v2', {}).get(PHOTOMETRIC) == WHITE_IS_ZERO:  # Pillow inverts 8 bits only
        pixels = white_of(image) - pixels
    if as_stored:
        return pixels
    if white_of(image) != 65535:
        return np.round(pixels * (255 / white_of(image))).clip(0, 255).astype(np.uint8)
    return (pixels // 256).astype(np.uint8)


def white_of(image: Image.Image) -> int:
    """The value of white of a deep grey image of Pillow, which does not scale a TIFF of 12 bits."""
    bits = max(getattr(image, 'tag_v2', {}).get(BITS) or (16,))
    return (1 << bits) - 1 if 8 < bits < 16 else 65535


def read_bytes(path: str, file_client_args: dict | None = None, backend_args: dict | None = None) -> bytes:
    """A file's content: of this machine's file systems directly, else through mmengine's storage back ends.

    Raises:
        BadImageError: with the system's reason, or for a pipe or a device, which may never end.
    """
    try:
        if file_client_args is None and not backend_args and '://' not in str(path):
            return _read_file(path)
        with suppress(OSError, ValueError):  # not of this file system; or the reader says what is wrong
            _require_regular(path, os.stat(path))
        if file_client_args is not None:
            return fileio.FileClient.infer_client(file_client_args, path).get(path)
        return fileio.get(path, backend_args=backend_args)
    except OSError as error:
        raise BadImageError.of(path, (error.strerror or str(error)).lower()) from error


def _read_file(path: str) -> bytes:
    """mmengine looks for the storage of each path, which takes as long as reading a small file."""
    file = os.open(path, _READ_ONLY)
    try:
        content = b''
        try:
            content = os.read(file, _SMALL)
            # as long as the file, so it is regular: a pipe has no length, and of a device it is 0
            if 0 < len(content) < _SMALL and os.lseek(file, 0, os.SEEK_END) == len(content):
                return content
            os.lseek(file, len(content), os.SEEK_SET)
        except OSError:  # what kind of file it is says which error is raised
            pass
        status = os.fstat(file)
        _require_regular(path, status)
        # one more byte than there should be: the file may grow
        parts = [content, os.read(file, max(status.st_size - len(content), 0) + 1)]
        while parts[-1] and sum(map(len, parts)) != status.st_size:
            parts.append(os.read(file, 1 << 30))
        return b''.join(parts)
    finally:
        os.close(file)


def _require_regular(path: str, status: os.stat_result) -> None:
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        raise BadImageError.of(path, 'it is not a regular file')
