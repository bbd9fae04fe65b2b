"""What the directories of a TIFF say of its pixels. Nothing is decoded."""

from contextlib import suppress
from io import BytesIO

from PIL.TiffImagePlugin import ImageFileDirectory_v2

from mmdensenet.errors import BadImageError

#: little and big endian; the same of BigTIFF
STARTS = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')
_WIDTH, _SUBFILE_TYPE, _REDUCED, _MASK = 256, 254, 1, 4
BITS, PHOTOMETRIC, _SAMPLES, _PLANES, _EXTRA, _FORMAT = 258, 262, 277, 284, 338, 339
_READ = (BITS, PHOTOMETRIC, _SAMPLES, _PLANES, _EXTRA, _FORMAT)
WHITE_IS_ZERO, _RGB, _PALETTE = 0, 2, 3
#: channels by PhotometricInterpretation: grey (either way), RGB, palette, CMYK, YCbCr
_CHANNELS = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4, 6: 3}
_UNSIGNED, _STRAIGHT_ALPHA = 1, 2


def tiff_pages(content: bytes) -> list[dict[int, object]]:
    """The tags of each page, without reduced ones and masks; [] for other formats and damaged directories."""
    if content[:4] not in STARTS:
        return []
    pages: list[dict[int, object]] = []
    with suppress(Exception):  # PIL's readers raise whatever the bytes lead to
        directory = ImageFileDirectory_v2(content[: 16 if 43 in content[2:4] else 8])
        seen = set()
        while directory.next and directory.next not in seen:
            seen.add(directory.next)
            file = BytesIO(content)
            file.seek(directory.next)
            directory.load(file)
            if directory.get(_WIDTH) and not directory.get(_SUBFILE_TYPE, 0) & (_REDUCED | _MASK):
                pages.append({tag: directory.get(tag) for tag in _READ})
    return pages


def tiff_bits(content: bytes) -> tuple[int, ...]:
    """Bits of each channel of the first page; () for other formats."""
    pages = tiff_pages(content)
    return _bits(pages[0]) if pages else ()


def require_known_pixels(path: str, page: dict, deep: bool) -> None:
    """Refuse what OpenCV decodes to other pixels than the file's, without a word.

    Args:
        deep: whether pixels are read at their own depth, not as 8 bits.

    Raises:
        BadImageError: naming what the file has.
    """
    for tag, value in page.items():
        if not all(isinstance(each, int) for each in (value if isinstance(value, tuple) else (value or 0,))):
            raise BadImageError.of(path, f'its tag {tag} is {value!r:.30}, not a whole number')
    number = page[PHOTOMETRIC]
    bits, samples = _bits(page), page[_SAMPLES] or 1
    if number is not None and number not in _CHANNELS:
        raise BadImageError.of(path, f'its colours are of a kind (PhotometricInterpretation {number}) that is not read')
    channels = _CHANNELS.get(number, samples)
    extra = page[_EXTRA] or ()
    if samples > channels + 1 or (samples == channels + 1 == 2 and 0 in (*extra, 0)[:1]):
        raise BadImageError.of(path, f'it has {samples} channels, of which some would be left out')
    unsigned = set(page[_FORMAT] or (_UNSIGNED,)) == {_UNSIGNED}
    if not deep and not (unsigned and max(bits) <= 16):
        kind = f'{max(bits)} bits' + ('' if unsigned else ', signed or float')
        raise BadImageError.of(
            path, f"its pixels ({kind}) have no full range to scale from: take mmdensenet's LoadGreyImage"
        )
    if deep and max(bits) > 8 and page[_PLANES] == 2 and samples > 1:
        raise BadImageError.of(path, f'its channels of {max(bits)} bits are stored one after the other')
    if deep and number == WHITE_IS_ZERO and not (unsigned and max(bits) <= 16):
        raise BadImageError.of(path, f'its pixels ({max(bits)} bits) are white where they are 0: store them inverted')


def white_is_zero(page: dict) -> bool:
    """Whether the smaller value is the brighter one and stays so: OpenCV inverts such pages of 8 bits only."""
    return page[PHOTOMETRIC] == WHITE_IS_ZERO and max(_bits(page)) > 8


def has_straight_alpha(page: dict) -> bool:
    """Whether a page in colour keeps the colours of its transparent places; OpenCV makes them black."""
    return page[PHOTOMETRIC] == _RGB and (page[_EXTRA] or ())[:1] == (_STRAIGHT_ALPHA,)


def why_not_decoded(page: dict) -> str | None:
    """Why OpenCV decodes no such page, in words, where that is known."""
    bits = set(_bits(page))
    if not bits & {1, 8, 10, 12, 14, 16, 32, 64} and page[PHOTOMETRIC] != _PALETTE:
        return f'it has {", ".join(map(str, sorted(bits)))} bits a channel, which are not read: convert it to 8 or 16'
    if max(bits) == 16 and set(page[_FORMAT] or (_UNSIGNED,)) == {3}:
        return 'its pixels are floats of 16 bits, which are not read: convert them to 32'
    return None


def _bits(page: dict) -> tuple[int, ...]:
    return tuple(page[BITS] or (1,))
