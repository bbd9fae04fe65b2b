"""JPEG files as OpenCV decodes them; the usual ones by simplejpeg, where it is installed.

Both call libjpeg-turbo. Of an image of 32 x 32 simplejpeg takes two thirds of OpenCV's time, of a photograph the same.
"""

import cv2
import numpy as np

from .image_header import usual_sampling

try:
    import simplejpeg
except (ImportError, ValueError):  # ValueError: it was built for another NumPy
    simplejpeg = None

#: by sampling, whether simplejpeg's pixels of the first such file are OpenCV's, which may be built with another libjpeg
_agrees: dict[int, bool] = {}


def decode_jpeg(content: bytes, flags: int) -> np.ndarray | None:
    """What cv2.imdecode returns or raises."""
    usual = simplejpeg is not None and flags & ~cv2.IMREAD_IGNORE_ORIENTATION == cv2.IMREAD_COLOR
    sampling = usual_sampling(content) if usual else None
    if sampling is not None and _agrees.get(sampling, True):
        try:
            image = simplejpeg.decode_jpeg(content, 'BGR')
        except ValueError:  # also of what libjpeg only warns of: OpenCV decides
            return _by_opencv(content, flags)
        if sampling in _agrees:
            return image
        _agrees[sampling] = np.array_equal(image, _by_opencv(content, flags))
    return _by_opencv(content, flags)


def _by_opencv(content: bytes, flags: int) -> np.ndarray | None:
    return cv2.imdecode(np.frombuffer(content, np.uint8), flags)
