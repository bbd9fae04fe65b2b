"""The pixels of a DICOM file, as values that mean something, and the range and window that the file states for them."""

import io
from dataclasses import dataclass

import numpy as np

from mmdensenet.errors import BadImageError, UserError, first_line
from mmdensenet.extras import imported

GREY = ('MONOCHROME1', 'MONOCHROME2')
COLOUR = ('RGB', 'YBR_FULL', 'YBR_FULL_422', 'YBR_ICT', 'YBR_RCT')
#: Rec. 601, as OpenCV's grey has it
LUMINANCE = (0.299, 0.587, 0.114)
PLUGINS = 'pylibjpeg-openjpeg pylibjpeg-rle pyjpegls python-gdcm'


@dataclass
class Dicom:
    """One grey image.

    Attributes:
        pixels: (H, W), after rescale slope and intercept or the Modality LUT, such as Hounsfield units; of a colour
            image the luminance.
        full: the lowest and highest value that the file can have: its stored range (bits and sign), carried through
            what was applied to the pixels. None for floats, which have none.
        inverted: whether more is darker (MONOCHROME1).
        windowed: (H, W) float64, 0 to 1, through the window or VOI LUT that the file states; None if it states none.
    """

    pixels: np.ndarray
    full: tuple[float, float] | None
    inverted: bool
    windowed: np.ndarray | None


def read_dicom(path: str, content: bytes, max_pixels: int) -> Dicom:
    """Decode with pydicom, and apply what PS3.3 C.11 asks for.

    Raises:
        UserError: if pydicom or a decoder of the file's compression is missing.
        BadImageError: for a file that is damaged, has several frames, or pixels of a kind that is not known.
    """
    pydicom = imported('pydicom', f'{path} is DICOM, which needs pydicom')
    try:
        file = pydicom.dcmread(io.BytesIO(content), force=True)
        _require_one_image(path, file, max_pixels)
        _require_decoder(path, file)
        return _interpret(path, file)
    except UserError:
        raise
    except Exception as error:  # pydicom raises many kinds
        raise BadImageError.of(path, f'as DICOM: {first_line(error)}') from error


def _require_one_image(path: str, file, max_pixels: int) -> None:
    frames, rows, columns = (int(file.get(key) or 0) for key in ('NumberOfFrames', 'Rows', 'Columns'))
    if frames > 1:
        raise BadImageError.of(
            path, f'it holds {frames} frames, an array of shape ({frames}, {rows}, {columns}), not one grey image'
        )
    if rows * columns > max_pixels:
        raise BadImageError.of(path, f'{rows * columns:,} pixels are more than max_pixels={max_pixels:,}')
    stored, high = file.get('BitsStored'), file.get('HighBit')
    if stored and high is not None and int(high) != int(stored) - 1:  # pydicom takes the lowest bits
        raise BadImageError.of(path, f'BitsStored is {stored} and HighBit {high}, where DICOM has {int(stored) - 1}')


def _require_decoder(path: str, file) -> None:
    from pydicom.pixels import get_decoder

    syntax = getattr(file.file_meta, 'TransferSyntaxUID', None) if hasattr(file, 'file_meta') else None
    if syntax is None or not syntax.is_compressed or syntax.is_deflated:
        return
    if not get_decoder(syntax).is_available:
        raise UserError(
            f'{path} is compressed as {syntax.name}, for which a decoder is missing. Run: pip install {PLUGINS}'
        )


def _interpret(path: str, file) -> Dicom:
    from pydicom.pixels import apply_color_lut, apply_modality_lut

    stored = np.asarray(file.pixel_array)
    kind = str(file.get('PhotometricInterpretation', 'MONOCHROME2'))
    if kind in COLOUR and stored.ndim == 3:
        return Dicom(stored @ np.array(LUMINANCE), _stored_range(file, stored), False, None)
    if stored.ndim != 2 or kind not in (*GREY, 'PALETTE COLOR'):
        raise BadImageError.of(path, f'it holds an array of shape {stored.shape} of {kind}, not one grey image')
    if kind == 'PALETTE COLOR':
        entries, first, depth = file.RedPaletteColorLookupTableDescriptor
        bits, entries = 16 if depth > 8 else 8, entries or 65536
        if bits == 8 and entries > 256:
            raise BadImageError.of(path, f'its palette has {entries} colours of 8 bits, of which 256 would be read')
        # pydicom keeps the places in the table in the type of its entries, where larger ones start again at 0
        places = stored.astype(np.int64).clip(first, first + entries - 1)
        return Dicom(apply_color_lut(places, file) @ np.array(LUMINANCE), (0, 2**bits - 1), False, None)
    full = _stored_range(file, stored)
    if file.get('ModalityLUTSequence'):
        stored = stored.astype(np.int64)  # of a table that begins below 0 the places need more than 16 bits
    pixels = apply_modality_lut(stored, file)
    if full is not None:
        ends = np.array(full)
        if file.get('ModalityLUTSequence'):  # not monotonic, as rescaling is; outside of its entries it is constant
            entries, first, _ = file.ModalityLUTSequence[0].LUTDescriptor
            low, high = (min(max(end, first), first + (entries or 65536) - 1) for end in full)
            ends = np.arange(low, high + 1)
        ends = apply_modality_lut(ends.astype(stored.dtype), file)
        full = float(ends.min()), float(ends.max())
        if full[0] == full[1]:
            raise BadImageError.of(path, f'its rescale slope or Modality LUT makes {full[0]:g} of every value')
    return Dicom(pixels, full, kind == 'MONOCHROME1', _windowed(path, file, pixels))


def _stored_range(file, stored: np.ndarray) -> tuple[int, int] | None:
    if stored.dtype.kind not in 'ui':
        return None
    bits = int(file.BitsStored)
    if file.get('PixelRepresentation'):
        return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    return 0, 2**bits - 1


def _windowed(path: str, file, pixels: np.ndarray) -> np.ndarray | None:
    """PS3.3 C.11.2: the first window, or without one the first VOI LUT."""
    if file.get('WindowCenter') is None or file.get('WindowWidth') is None:
        return _through_table(file, pixels) if file.get('VOILUTSequence') else None
    center, width = _first(file.WindowCenter), _first(file.WindowWidth)
    function = str(file.get('VOILUTFunction') or 'LINEAR').upper()
    if function not in ('LINEAR', 'LINEAR_EXACT', 'SIGMOID') or width < (1 if function == 'LINEAR' else 1e-12):
        raise BadImageError.of(path, f'its window of width {width:g} by the function {function} is none of DICOM')
    x = pixels.astype(np.float64)
    if function == 'SIGMOID':
        return 1 / (1 + np.exp(-4 * (x - center) / width))
    if function == 'LINEAR':
        center, width = center - 0.5, width - 1
    if width == 0:
        return (x > center).astype(np.float64)
    return ((x - center) / width + 0.5).clip(0, 1)


def _through_table(file, pixels: np.ndarray) -> np.ndarray:
    """The first VOI LUT. pydicom 3.0 keeps the places in a table of 8 bits in 8 bits, where 256 is 0 again."""
    item = file.VOILUTSequence[0]
    entries, first, bits = map(int, item.LUTDescriptor)
    table = item.LUTData
    if isinstance(table, bytes):
        table = np.frombuffer(table, '<u2' if file.original_encoding[1] else '>u2')
    table = np.atleast_1d(table)[: entries or 65536]
    places = (pixels.astype(np.float64) - first).clip(0, len(table) - 1).astype(int)
    return table[places] / (2**bits - 1)


def _first(value) -> float:
    """A DICOM number that may be a list of alternatives."""
    try:
        return float(value)
    except TypeError:
        return float(value[0])
