"""Images that are in memory, or in .npy files, as the loading step of a test pipeline would have read them."""

import math
import os

import cv2
import numpy as np
from PIL import Image, ImageOps

from mmdensenet.datasets.image_header import MAX_PIXELS
from mmdensenet.datasets.load_image import eight_bits, is_deep, white_of
from mmdensenet.errors import UserError


def pillow_pixels(
    image: Image.Image, channels: int, as_stored: bool, window: tuple[float, float] | str | None = None
) -> np.ndarray:
    """(H, W), or (H, W, 3) in BGR order, turned as its EXIF data say.

    Args:
        as_stored: keep more than 8 bits, for a step that maps them itself; else they are scaled to 8.

        window: of that step, see :class:`mmdensenet.datasets.LoadGreyImage`.

    Raises:
        UserError: for pixels of more than 8 bits without a range to scale from, which Pillow itself cuts at 255; and
            for those whose values are not the file's, or whose range is not that of 16 bits, where that matters.
    """
    if is_deep(image):
        if as_stored and image.format == 'PPM' and window != 'full':
            raise UserError(
                'an image of Pillow cannot be read: it has scaled the values of the PNM file. Give the file.'
            )
        if as_stored and white_of(image) != 65535 and window == 'full':
            raise UserError(f'an image of Pillow cannot be read: its white is {white_of(image)}. Give the file.')
        try:
            return eight_bits(image, as_stored)
        except ValueError as error:
            raise UserError(f'an image of Pillow cannot be read: {error}.') from error
    image = ImageOps.exif_transpose(image)
    if channels != 1:
        return np.asarray(image.convert('RGB'))[..., ::-1]
    if image.mode in ('1', 'L'):
        return np.asarray(image.convert('L'))
    return cv2.cvtColor(np.asarray(image.convert('RGB')), cv2.COLOR_RGB2GRAY)


def load_array(path: str) -> np.ndarray:
    """A .npy file. Its header is checked before there is memory for what it claims.

    Raises:
        UserError: naming the file, if it is none, too large, or not of numbers.
        OSError, ValueError, SyntaxError: of a file that cannot be read.
    """
    with open(path, 'rb') as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
        require_numbers(dtype, path)
        if math.prod(shape[:2]) > MAX_PIXELS:
            raise UserError(f'{path}: an array of shape {shape} has more than {MAX_PIXELS:,} pixels.')
        if math.prod(shape) * dtype.itemsize > os.fstat(file.fileno()).st_size - file.tell():
            raise UserError(f'{path} cannot be read: it is shorter than its header says.')
        file.seek(0)
        return np.load(file, allow_pickle=False)


def require_numbers(dtype: np.dtype, what: str) -> None:
    """Refuse an array of text or objects.

    Raises:
        UserError: naming it.
    """
    if dtype.kind not in 'biuf':
        raise UserError(f'{what} of type {dtype} cannot be read as an image: it needs numbers.')


def require_8_bits(array: np.ndarray, what: str) -> None:
    """Refuse an array whose values are not those of 8 bits, for a model whose files are read so.

    Raises:
        UserError: for values below 0 or above 255, for those that are all between 0 and 1, and for NaN.
    """
    if array.dtype == np.uint8 or not array.size:
        return
    low, high = float(array.min()), float(array.max())
    if not (low >= 0 and (1 < high <= 255 or high == 0)):
        raise UserError(
            f'{what} of {array.dtype} has values from {low:g} to {high:g}, and this model reads images of 8 bits: '
            'scale them to 0 to 255.'
        )
