"""The pixels of an image file at their own depth."""

from io import BytesIO

import cv2
import numpy as np
from PIL import Image

from mmdensenet.errors import BadImageError

from .image_header import check_content, largest_value, why_unreadable
from .tiff_header import has_straight_alpha, require_known_pixels, tiff_pages, white_is_zero


def read_pixels(path: str, content: bytes, max_pixels: int) -> tuple[np.ndarray, int | None]:
    """(H, W), or (H, W, 3) in the order blue, green, red; and the value of white, where the file states another than
    the largest of the array's type.

    Raises:
        BadImageError: for a file that is no image, is damaged, or has pixels of a kind that is not read.
    """
    check_content(path, content, max_pixels)
    pages = tiff_pages(content)
    if pages:
        require_known_pixels(path, pages[0], deep=True)
    flags = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR
    try:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), flags) if content else None
        if pages and has_straight_alpha(pages[0]) and pixels is not None and pixels.dtype == np.uint8:
            with Image.open(BytesIO(content)) as image:
                pixels = np.ascontiguousarray(np.asarray(image.convert('RGB'))[..., ::-1])
    except (cv2.error, OSError, ValueError, MemoryError) as error:
        raise BadImageError.of(path, why_unreadable(content)) from error
    if pixels is None:
        raise BadImageError.of(path, why_unreadable(content))
    white = largest_value(content)
    if pages and white is not None:  # OpenCV makes 16 bits of 10, 12 and 14
        pixels = pixels >> (16 - white.bit_length())
    if pages and white_is_zero(pages[0]):
        pixels = np.asarray(white or np.iinfo(pixels.dtype).max, pixels.dtype) - pixels
    return pixels, white


def needs_own_depth(content: bytes) -> bool:
    """Whether OpenCV makes other 8 bits of a file than its pixels: it ignores the value of white that the file states,
    and makes the transparent places of a TIFF black; or none at all, of 10, 12 and 14 bits."""
    pages = tiff_pages(content)
    return largest_value(content) is not None or bool(pages and has_straight_alpha(pages[0]))


def read_8_bits(path: str, content: bytes, max_pixels: int, color_type: str) -> np.ndarray:
    """:func:`read_pixels` scaled to uint8: (H, W, 3), or (H, W) for a ``color_type`` of grey.

    It is for TIFF and PNM: OpenCV and Pillow turn a TIFF as it says, whatever is asked for, and a PNM says nothing.
    """
    pixels, white = read_pixels(path, content, max_pixels)
    if white is not None:
        pixels = np.round(pixels * (255 / white)).clip(0, 255).astype(np.uint8)
    elif pixels.dtype == np.uint16:
        pixels = (pixels // 256).astype(np.uint8)  # as OpenCV does
    if color_type.startswith('grayscale'):
        return pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
    return pixels if pixels.ndim == 3 else cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR)
