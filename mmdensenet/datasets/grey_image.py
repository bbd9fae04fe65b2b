"""Grey images at full depth: 8 and 16 bits, DICOM, and slices of NIfTI volumes."""

import cv2
import numpy as np
from mmcv.transforms import BaseTransform

from mmdensenet.errors import BadImageError, UserError
from mmdensenet.registry import TRANSFORMS

from .deep_pixels import read_pixels
from .dicom import Dicom, read_dicom
from .image_header import MAX_PIXELS
from .load_image import read_bytes
from .nifti import PLANES, is_local, is_nifti, read_nifti_slice


@TRANSFORMS.register_module()
class LoadGreyImage(BaseTransform):
    """Read an image as grey, map the window of values that matters to 0 to 255, and keep its depth as float32.

    (mmcv's loader turns 16 bits into 8 without being asked.) A colour image becomes its luminance.

    Args:
        window: (low, high), the pixel values that become 0 and 255, what is outside is clipped; 'full', all values
            that the file can have, such as 0 to 65535, of DICOM its stored bits and sign carried through slope and
            intercept; or 'dicom', the window or VOI LUT that a DICOM file states. DICOM values are those after its
            rescale slope and intercept or Modality LUT, such as Hounsfield units.
        max_pixels: larger images are refused before they are decoded.
        axis: of NIfTI files (``.nii``, ``.nii.gz``): 'axial', 'coronal' or 'sagittal', or 0, 1 or 2 as stored, see
            :func:`mmdensenet.datasets.nifti.read_nifti_slice`.
        index: which slice along it, from 0, or 'middle'. By default the sample says it, under ``slice``, as
            :class:`CSVDataset` does with ``slice_column``.

    Adds ``img``, (H, W) float32, ``img_shape`` and ``ori_shape``. DICOM files (``.dcm``, ``.dicom``, or by their
    preamble) need pydicom; MONOCHROME1 is inverted, so that more is always brighter. NIfTI needs nibabel.

    Raises:
        BadImageError: naming the file that cannot be read, or that has several frames or pages, or pixels that are not
            finite.
        UserError: if pydicom or nibabel is missing, a file lacks the window, or has pixels (float, 32 bits) without a
            range, or nothing says which slice of a volume it is.
    """

    def __init__(
        self,
        window: tuple[float, float] | str,
        max_pixels: int = MAX_PIXELS,
        axis: int | str | None = None,
        index: int | str | None = None,
    ):
        pair = isinstance(window, (tuple, list)) and len(window) == 2
        if not (pair and window[0] < window[1]) and window not in ('full', 'dicom'):
            raise UserError(f"LoadGreyImage window={window!r}: give (low, high), 'full' or 'dicom'.")
        self.window = tuple(window) if pair else window
        self.max_pixels = max_pixels
        if axis is not None and axis not in (*PLANES, 0, 1, 2):
            raise UserError(f"LoadGreyImage axis={axis!r}: give 'axial', 'coronal', 'sagittal', 0, 1 or 2.")
        if index not in (None, 'middle') and (type(index) is not int or index < 0):
            raise UserError(f"LoadGreyImage index={index!r}: give a number from 0, or 'middle'.")
        self.axis, self.index = axis, index

    def transform(self, results: dict) -> dict:
        path = results['img_path']
        if is_nifti(path):
            return self._with(results, self._read_slice(path, results))
        content = read_bytes(path)
        if content[128:132] == b'DICM' or path.lower().endswith(('.dcm', '.dicom')):
            image = self._window_dicom(read_dicom(path, content, self.max_pixels), path)
        else:
            pixels, white = read_pixels(path, content, self.max_pixels)
            pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY) if pixels.ndim == 3 else pixels
            image = self.apply_window(pixels, path, None if white is None else (0, white))
        return self._with(results, image)

    @staticmethod
    def _with(results: dict, image: np.ndarray) -> dict:
        results['img'] = image
        results['img_shape'] = results['ori_shape'] = image.shape[:2]
        return results

    def apply_window(
        self, pixels: np.ndarray, path: str = 'the array', full: tuple[float, float] | None = None
    ) -> np.ndarray:
        """(H, W) of any type as float32 from 0 to 255.

        Args:
            full: what 'full' means for these pixels; by default the range of their type of 8 or 16 bits.
        """
        if pixels.dtype.kind == 'f' and not np.isfinite(pixels).all():
            count = int((~np.isfinite(pixels)).sum())
            raise BadImageError.of(path, f'{count:,} of its pixels are not finite (NaN or infinite)')
        if self.window == 'dicom':
            raise UserError(f"{path} states no window: give LoadGreyImage window=(low, high) or 'full'.")
        if self.window != 'full':
            low, high = self.window
        elif full is not None:
            low, high = full
        elif pixels.dtype.kind in 'ui' and pixels.dtype.itemsize <= 2:
            low, high = np.iinfo(pixels.dtype).min, np.iinfo(pixels.dtype).max
        else:
            raise UserError(f'{path} has {pixels.dtype} pixels, which have no full range: give a window (low, high).')
        scaled = (pixels.astype(np.float64) - low) * (255.0 / (high - low))
        return np.clip(scaled, 0, 255).astype(np.float32)

    def _read_slice(self, path: str, results: dict) -> np.ndarray:
        given = results.get('slice')
        if self.axis is None:
            raise UserError(f"{path} is a volume: say along which axis slices are taken, LoadGreyImage axis='axial'.")
        if (given is None) == (self.index is None):
            raise UserError(
                f'{path} is a volume: say which slice, by the data set (slice_column) or by LoadGreyImage index=, '
                f'{"not by both" if given is not None else "such as index=20"}.'
            )
        content = None if is_local(path) else read_bytes(path)
        index = self.index if given is None else given
        pixels, full = read_nifti_slice(path, content, self.axis, index, self.max_pixels)
        return self.apply_window(pixels, path, full)

    def _window_dicom(self, file: Dicom, path: str) -> np.ndarray:
        if self.window == 'dicom' and file.windowed is not None:
            image = (file.windowed * 255).astype(np.float32)
        else:
            image = self.apply_window(file.pixels, path, file.full)
        return 255 - image if file.inverted else image
