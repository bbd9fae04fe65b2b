"""What a file says of its image before it is decoded: its size, depth and pages, and whether all of it is there."""

import re
import struct
from contextlib import suppress
from io import BytesIO

from PIL import Image

from mmdensenet.errors import BadImageError

from .tiff_header import tiff_bits, tiff_pages, why_not_decoded

#: 128 Mi; a photograph of 11,000 x 11,000 still passes
MAX_PIXELS = 1 << 27
_MARKERS_WITH_SIZE = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_START_OF_SCAN = 0xDA
_BASELINE = 0xC0
_JFIF = b'\xff\xd8\xff\xe0'
#: JFIF's own, colour profiles, comments and the tables of a baseline JPEG
_USUAL_MARKERS = {0xE0, 0xE2, 0xFE, 0xDB, 0xDD, 0xC4, _BASELINE, _START_OF_SCAN}
#: of a frame's length, precision, count of components and their factors
_SAMPLINGS = {bytes((0, 17, 8, 3, luma, 0x11, 0x11)): luma for luma in (0x11, 0x21, 0x22)}
_PNG = b'\x89PNG\r\n\x1a\n'
_JPEG, _JPEG_END = b'\xff\xd8', b'\xff\xd9'
_OTHER_FORMATS = {
    **dict.fromkeys((b'heic', b'heix', b'heim', b'heis', b'hevc', b'mif1', b'msf1'), 'HEIC'),
    **dict.fromkeys((b'avif', b'avis'), 'AVIF'),
}
#: between the fields of PGM's and PPM's headers; each byte fits one alternative, or some files would take for ever
_BETWEEN = rb'(?:\s|#[^\n]*\n)+'
#: width, height and the value of white
_NETPBM = re.compile(rb'P[2356]' + _BETWEEN + rb'\d+' + _BETWEEN + rb'\d+' + _BETWEEN + rb'(\d+)\s')


def check_content(path: str, content: bytes, max_pixels: int) -> None:
    """Raise BadImageError if the header states more pixels, the file ends early, or holds several images. Nothing is
    decoded."""
    is_jpeg = content.startswith(_JPEG)
    width, height, scan = _jpeg_head(content)[:3] if is_jpeg else (*image_size(content), 0)
    if width * height > max_pixels:
        raise BadImageError.of(path, f'{width}x{height} is more than max_pixels={max_pixels:,}')
    if _ends_early(content, scan) if is_jpeg else _is_cut_png(content):
        raise BadImageError.of(path, why_unreadable(content))
    pages = 0 if is_jpeg else len(tiff_pages(content))
    if pages > 1:
        raise BadImageError.of(path, f'it has {pages} pages, of which only one would be read')


def largest_value(content: bytes) -> int | None:
    """The value of white, where the header states another than the 255 or 65535 of 8 or 16 bits: of a PNM file, or of a
    TIFF of 10, 12 or 14 bits. Decoders ignore it. Nothing is decoded."""
    if netpbm := _NETPBM.match(content):
        top = int(netpbm[1])
        return top if top not in (255, 65535) else None
    bits = {*tiff_bits(content)}
    return (1 << bits.pop()) - 1 if len(bits) == 1 and bits <= {10, 12, 14} else None


def has_16_bits(content: bytes) -> bool:
    """Whether a PNG, TIFF or PNM file has 16 bits a channel. Nothing is decoded."""
    if content.startswith(_PNG):
        return len(content) > 24 and content[24] == 16
    if netpbm := _NETPBM.match(content):
        return netpbm[1] == b'65535'
    return 16 in tiff_bits(content)


def is_animated(content: bytes) -> bool:
    """Whether a GIF, PNG or WebP has several frames, of which decoders give the first. Nothing is decoded."""
    if content.startswith(_PNG):
        chunk = content.find(b'acTL', 0, content.find(b'IDAT'))
        return chunk > 0 and int.from_bytes(content[chunk + 4 : chunk + 8], 'big') > 1
    if content[:4] == b'RIFF' and content[8:16] == b'WEBPVP8X':
        return bool(content[20] & 2)
    if content.startswith(b'GIF8'):
        with suppress(Exception), Image.open(BytesIO(content)) as image:  # PIL's readers raise whatever bytes lead to
            return image.n_frames > 1
    return False


def why_unreadable(content: bytes) -> str:
    """Why a file that no decoder takes is no image, for people."""
    if not content:
        return 'the file is empty'
    if content[4:8] == b'ftyp' and (other := _OTHER_FORMATS.get(content[8:12])):
        return f'it is {other}, which is not read here: convert it to PNG or JPEG'
    if pages := tiff_pages(content):
        if reason := why_not_decoded(pages[0]):
            return reason
    elif content[:4] == b'RIFF' and content[8:12] == b'WEBP':
        return 'it is cut short or damaged'
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
    return _ends_early(content, _jpeg_head(content)[2]) if content.startswith(_JPEG) else _is_cut_png(content)


def _ends_early(content: bytes, scan: int) -> bool:
    """Whether a JPEG ends before its end marker. OpenCV before version 5 fills such an image up with grey."""
    # inside a scan 0xFF is followed by 0, so it is no other byte's half
    return not content.endswith(_JPEG_END, scan) and content.find(_JPEG_END, scan) < 0


def jpeg_scans(content: bytes) -> int:
    """How many scans a JPEG has at most, each of which a decoder takes through the whole image; 0 for other formats.

    To the end of the file: an end marker may stand in a comment between scans, where decoders pass over it.
    """
    if not content.startswith(b'\xff\xd8'):
        return 0
    return content.count(bytes((0xFF, _START_OF_SCAN)), _jpeg_head(content)[2])


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


def usual_sampling(content: bytes) -> int | None:
    """The luma's factors (0x11, 0x21 or 0x22) of a JPEG as most are: baseline, JFIF's three components of 8 bits, and
    without a segment that may state an orientation or other colours. None for others. Nothing is decoded."""
    return _jpeg_head(content)[3]


#: the last JPEG's bytes up to its first scan, and what is found in them: those of a data set are often all the same
_last_head: tuple[bytes, tuple[int, int, int, int | None]] = b'\0', (0, 0, 0, None)


def _jpeg_head(content: bytes) -> tuple[int, int, int, int | None]:
    """Width, height (0, 0 if no segment has them), where the first scan begins (the end if there is none), and
    :func:`usual_sampling`."""
    global _last_head
    head, found = _last_head
    position, end, size, markers, sampling = 2, len(content) - 9, None, [], None
    if found[2] < end and content.startswith(head):
        return found
    while position < end and content[position] == 0xFF:
        marker = content[position + 1]
        markers.append(marker)
        if marker == _START_OF_SCAN:
            is_usual = content.startswith(_JFIF) and content.startswith(b'JFIF\0', 6)
            is_usual = is_usual and {*markers} <= _USUAL_MARKERS and markers.count(_BASELINE) == 1
            found = *(size or (0, 0)), position, sampling if is_usual else None
            _last_head = content[: position + 7], found  # a damaged segment's size may lie behind the marker
            return found
        if size is None and marker in _MARKERS_WITH_SIZE:
            height, width = struct.unpack_from('>HH', content, position + 5)
            size = width, height
            sampling = _SAMPLINGS.get(
                content[position + 2 : position + 5]
                + content[position + 9 : position + 10]
                + content[position + 11 : position + 18 : 3]
            )
        if marker == 0xFF:  # fill byte
            position += 1
        elif marker == 1 or 0xD0 <= marker <= 0xD8:  # without a length
            position += 2
        else:
            position += 2 + (content[position + 2] << 8 | content[position + 3])
    return *(size or (0, 0)), len(content), None
