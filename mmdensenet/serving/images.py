"""Checks of an uploaded image before it is decoded."""

from mmdensenet.datasets.image_header import image_size, is_cut, jpeg_scans
from mmdensenet.extras import install_command

#: formats by their first bytes; few decoders are a small attack surface for hostile files
FORMATS = {
    'JPEG': (b'\xff\xd8\xff',),
    'PNG': (b'\x89PNG\r\n\x1a\n',),
    'GIF': (b'GIF87a', b'GIF89a'),
    'BMP': (b'BM',),
    'TIFF': (b'II*\x00', b'MM\x00*'),
}
#: the most scans of a JPEG. Progressive ones have about ten; a file of some kB with thousands takes minutes to decode
MAX_SCANS = 100


class RefusedRequestError(Exception):
    """A request that the server refuses: an HTTP status, a message for the client, and headers."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None):
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers or {}


def check_image(content: bytes, max_pixels: int, dicom: bool = False) -> tuple[int, int]:
    """The width and height of an image that may be decoded.

    Args:
        content: the content of an image file.
        max_pixels: the most pixels (width times height). A file of some kB may decode to gigabytes.
        dicom: whether DICOM files are accepted.

    Raises:
        RefusedRequestError: with 400, 413, 415 or 422.
    """
    if not content:
        raise RefusedRequestError(400, 'The request is empty: send the image file as its body.')
    kind = image_format(content)
    if kind is None or (kind == 'DICOM' and not dicom):
        formats = ', '.join([*FORMATS, 'WebP', *(['DICOM'] if dicom else [])])
        raise RefusedRequestError(415, f'This is no image in a format that is read here: {formats}.')
    width, height = _dicom_size(content) if kind == 'DICOM' else image_size(content)
    if kind == 'TIFF':
        width, height = _with_tiles(content, width, height)
    if width * height > max_pixels:
        raise RefusedRequestError(413, f'The image has {width} x {height} pixels; the limit is {max_pixels:,} in all.')
    if width < 1 or height < 1 or is_cut(content):
        raise RefusedRequestError(422, f'The {kind} file is cut short or damaged, or of a kind that is not read here.')
    if (scans := jpeg_scans(content)) > MAX_SCANS:
        raise RefusedRequestError(413, f'The JPEG file has {scans:,} scans; the limit is {MAX_SCANS}.')
    return width, height


def image_format(content: bytes) -> str | None:
    """The name of the format, from the first bytes."""
    if content[:4] == b'RIFF' and content[8:12] == b'WEBP':
        return 'WebP'
    if content[128:132] == b'DICM':
        return 'DICOM'
    return next((name for name, starts in FORMATS.items() if content.startswith(starts)), None)


def _dicom_size(content: bytes) -> tuple[int, int]:
    """The width of all frames together, and the height."""
    try:
        from io import BytesIO

        import pydicom

        file = pydicom.dcmread(BytesIO(content), stop_before_pixels=True, force=True)
        return int(file.Columns) * int(file.get('NumberOfFrames') or 1), int(file.Rows)
    except ImportError:
        raise RefusedRequestError(
            415, f'DICOM files need pydicom on the server. Run there: {install_command("dicom")}'
        ) from None
    except Exception:  # damaged bytes can make pydicom raise any exception
        return 0, 0


def _with_tiles(content: bytes, width: int, height: int) -> tuple[int, int]:
    """The size that a decoder allocates: whole tiles, which may be larger than the image."""
    from io import BytesIO

    from PIL import Image

    try:
        with Image.open(BytesIO(content)) as image:
            return max(width, int(image.tag_v2.get(322, 0))), max(height, int(image.tag_v2.get(323, 0)))
    except Exception:  # damaged bytes can make PIL's readers raise any exception
        return 0, 0
