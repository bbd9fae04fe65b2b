"""One slice of a NIfTI volume, as values that mean something."""

import gzip
import io
import os
from typing import Any

import numpy as np

from mmdensenet.errors import BadImageError, UserError, first_line
from mmdensenet.extras import imported

SUFFIXES = ('.nii', '.nii.gz')
#: anatomical planes, by the axis of the volume in the order left-right, posterior-anterior, inferior-superior
PLANES = dict(sagittal=0, coronal=1, axial=2)


def is_nifti(path: str) -> bool:
    return path.lower().endswith(SUFFIXES)


def read_nifti_slice(
    path: str, content: bytes | None, axis: int | str, index: int | str, max_pixels: int
) -> tuple[np.ndarray, tuple[float, float] | None]:
    """A slice after the file's slope and intercept, and the values that the file can have.

    Args:
        content: of the file; None reads it where it is, without the rest of the volume where it is not compressed.
        axis: 0, 1 or 2, an axis as stored: the slice is (H, W) of the other two, as stored. Or 'axial', 'coronal' or
            'sagittal': along the nearest axis, drawn as radiologists look at it: the patient's left at the right of
            axial and coronal slices, the front at the top of axial and at the left of sagittal ones, the head at the
            top of the others.
        index: from 0; along a plane's axis from left to right, back to front, feet to head. Or 'middle', for n slices
            n // 2.

    Returns:
        (H, W); and the range of its integer type of 8 or 16 bits after slope and intercept, None for other types.

    Raises:
        UserError: if nibabel is missing.
        BadImageError: for a damaged file, several volumes, colours, and a slice that the volume does not have.
    """
    nibabel = imported('nibabel', f'{path} is NIfTI, which needs nibabel')
    try:
        volume = _open(nibabel, path, content)
        shape = tuple(int(size) for size in volume.shape)
        while len(shape) > 3 and shape[-1] == 1:
            shape = shape[:-1]
        stored = volume.get_data_dtype()
        if len(shape) != 3 or stored.kind not in 'iuf':
            what = f'an array of shape {volume.shape} of {stored}'
            raise BadImageError.of(path, f'it holds {what}, not one volume of three axes of numbers')
        place, towards, steps = _axis(nibabel, volume, axis)
        number = shape[place] // 2 if index == 'middle' else index
        if not 0 <= number < shape[place]:
            raise BadImageError.of(path, f'it has slices 0 to {shape[place] - 1} along {axis}, not {index}')
        if int(np.prod(shape)) // shape[place] > max_pixels:
            raise BadImageError.of(path, f'a slice of it has more than max_pixels={max_pixels:,}')
        if steps is not None and steps[place] < 0:
            number = shape[place] - 1 - number
        where: list[Any] = [slice(None)] * 3 + [0] * (len(volume.shape) - 3)
        where[place] = number
        pixels = np.asarray(volume.dataobj[tuple(where)])
    except (BadImageError, UserError):
        raise
    except Exception as error:  # nibabel raises whatever the bytes lead to
        raise BadImageError.of(path, f'as NIfTI: {first_line(error)}') from error
    if steps is not None:
        # columns towards left or back, rows towards back or feet
        first, second = (i for i in range(3) if i != place)
        pixels = pixels[:: -steps[first], :: -steps[second]]
        pixels = pixels.T if towards[first] < towards[second] else pixels
    return pixels, _range(volume, stored)


def _open(nibabel, path: str, content: bytes | None):
    if content is None:
        return nibabel.load(path)
    if content[:2] == b'\x1f\x8b':
        content = gzip.decompress(content)
    kind = nibabel.Nifti2Image if content[:4] in (b'\x1c\x02\0\0', b'\0\0\x02\x1c') else nibabel.Nifti1Image
    return kind.from_stream(io.BytesIO(content))


def _axis(nibabel, volume, axis: int | str) -> tuple[int, list[int] | None, list[int] | None]:
    """The stored axis; of a plane also which axis of :data:`PLANES` each stored one is, and whether it grows towards
    right, front and head (1) or not (-1)."""
    if axis not in PLANES:
        return int(axis), None, None
    orientation = nibabel.io_orientation(volume.affine)
    if np.isnan(orientation).any():
        raise ValueError('its affine does not say how the volume lies')
    towards = orientation[:, 0].astype(int).tolist()
    return towards.index(PLANES[axis]), towards, orientation[:, 1].astype(int).tolist()


def _range(volume, stored: np.dtype) -> tuple[float, float] | None:
    if stored.kind == 'f' or stored.itemsize > 2:
        return None
    slope, intercept = volume.dataobj.slope, volume.dataobj.inter
    ends = [float(end) * float(slope) + float(intercept) for end in (np.iinfo(stored).min, np.iinfo(stored).max)]
    return min(ends), max(ends)


def is_local(path: str) -> bool:
    return '://' not in path and os.path.isfile(path)
