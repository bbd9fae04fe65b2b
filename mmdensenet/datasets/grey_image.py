"""Grey images at full depth: 8 and 16 bits, and DICOM."""

import io

import cv2
import numpy as np
from mmcv.transforms import BaseTransform

from mmdensenet.errors import BadImageError, UserError
from mmdensenet.registry import TRANSFORMS

from .load_image import MAX_PIXELS, check_content, read_bytes, why_unreadable


@TRANSFORMS.register_module()
class LoadGreyImage(BaseTransform):
    """Read an image as grey, map the window of values that matters to 0 to 255, and keep its depth as float32.

    (mmcv's loader turns 16 bits into 8 without being asked.) A colour image becomes its luminance.

    Args:
        window: (low, high), the pixel values that become 0 and 255, what is outside is clipped; 'full', all values of
            the file's type, such as 0 to 65535; or 'dicom', the window that a DICOM file states. DICOM values are those
            after its rescale slope and intercept, such as Hounsfield units.
        max_pixels: larger images are refused before they are decoded.

    Adds ``img``, (H, W) float32, ``img_shape`` and ``ori_shape``. DICOM files (``.dcm``, ``.dicom``, or by their
    preamble) need pydicom; MONOCHROME1 is inverted, so that more is always brighter.

    Raises:
        BadImageError: naming the file that cannot be read.
        UserError: if pydicom is missing, or a file lacks the window.
    """

    def __init__(self, window: tuple[float, float] | str, max_pixels: int = MAX_PIXELS):
        pair = isinstance(window, (tuple, list)) and len(window) == 2
        if not (pair and window[0] < window[1]) and window not in ('full', 'dicom'):
            raise UserError(f"LoadGreyImage window={window!r}: give (low, high), 'full' or 'dicom'.")
        self.window = tuple(window) if pair else window
        self.max_pixels = max_pixels

    def transform(self, results: dict) -> dict:
        path = results['img_path']
        content = read_bytes(path)
        if content[128:132] == b'DICM' or path.lower().endswith(('.dcm', '.dicom')):
            pixels, window, inverted = self._read_dicom(path, content)
        else:
            pixels, window, inverted = self._read_image(path, content), None, False
        image = self.apply_window(pixels, window, path)
        results['img'] = 255 - image if inverted else image
        results['img_shape'] = results['ori_shape'] = image.shape[:2]
        return results

    def apply_window(self, pixels: np.ndarray, stated: tuple | None = None, path: str = 'the array') -> np.ndarray:
        """(H, W) of any type as float32 from 0 to 255; ``stated`` is the file's own window, (low, high)."""
        if self.window == 'dicom':
            if stated is None:
                raise UserError(f"{path} states no window: give LoadGreyImage window=(low, high) or 'full'.")
            low, high = stated
        elif self.window == 'full':
            if pixels.dtype.kind not in 'ui':
                raise UserError(
                    f'{path} has {pixels.dtype} pixels, which have no full range: give a window (low, high).'
                )
            low, high = np.iinfo(pixels.dtype).min, np.iinfo(pixels.dtype).max
        else:
            low, high = self.window
        scaled = (pixels.astype(np.float64) - low) * (255.0 / (high - low))
        return np.clip(scaled, 0, 255).astype(np.float32)

    def _read_image(self, path: str, content: bytes) -> np.ndarray:
        flags = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR
        check_content(path, content, self.max_pixels)
        try:
            pixels = cv2.imdecode(np.frombuffer(content, np.uint8), flags) if content else None
        except (cv2.error, MemoryError) as error:
            raise BadImageError.of(path, why_unreadable(content)) from error
        if pixels is None:
            raise BadImageError.of(path, why_unreadable(content))
        return cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY) if pixels.ndim == 3 else pixels

    def _read_dicom(self, path: str, content: bytes) -> tuple[np.ndarray, tuple | None, bool]:
        """Pixels (H, W), the stated window (low, high) or None, and whether more is darker."""
        try:
            import pydicom
        except ImportError as error:
            raise UserError(f'{path} is DICOM, which needs pydicom. Run: pip install pydicom') from error
        try:
            file = pydicom.dcmread(io.BytesIO(content), force=True)
            pixels = int(getattr(file, 'Rows', 0) or 0) * int(getattr(file, 'Columns', 0) or 0)
            stored = file.pixel_array if pixels <= self.max_pixels else None
        except Exception as error:  # pydicom raises many kinds
            raise BadImageError.of(path, f'as DICOM: {(str(error).splitlines() or [""])[0][:120]}') from error
        if stored is None:
            raise BadImageError.of(path, f'{pixels:,} pixels are more than max_pixels={self.max_pixels:,}')
        if stored.ndim != 2:
            raise BadImageError.of(path, f'it holds an array of shape {stored.shape}, not one grey image')
        slope, intercept = getattr(file, 'RescaleSlope', None), getattr(file, 'RescaleIntercept', None)
        pixels = stored
        if slope is not None or intercept is not None:
            rescaled = stored * float(1 if slope is None else slope) + float(intercept or 0)
            # a rescaling that changes nothing keeps the type, whose range 'full' asks for
            pixels = stored if np.array_equal(rescaled, stored) else rescaled
        elif self.window == 'full' and getattr(file, 'BitsStored', None) not in (None, stored.dtype.itemsize * 8):
            pixels = _fill_type(stored, int(file.BitsStored))
        window = None
        if getattr(file, 'WindowCenter', None) is not None and getattr(file, 'WindowWidth', None) is not None:
            center, width = (_first(file.WindowCenter), _first(file.WindowWidth))
            window = (center - width / 2, center + width / 2) if width > 0 else None
        return pixels, window, getattr(file, 'PhotometricInterpretation', '') == 'MONOCHROME1'


def _fill_type(stored: np.ndarray, bits: int) -> np.ndarray:
    """12 bits in a type of 16, say: scaled so that their range is the type's."""
    if stored.dtype.kind != 'u':
        return stored
    full = np.iinfo(stored.dtype).max
    return np.round(stored.astype(np.float64) * (full / (2**bits - 1))).clip(0, full).astype(stored.dtype)


def _first(value) -> float:
    """A DICOM number that may be a list of alternatives."""
    try:
        return float(value)
    except TypeError:
        return float(value[0])
