"""What the directories of a TIFF say; pixels of a kind that is not read are named."""

import struct

import numpy as np
import pytest
from support.tiff_files import BITS, EXTRA, FORMAT, PHOTOMETRIC, PLANES, SAMPLES, packed, tiff

from mmdensenet.apis.fit.pictures import read_picture
from mmdensenet.datasets import LoadGreyImage, LoadImage
from mmdensenet.datasets.tiff_header import (
    has_straight_alpha,
    require_known_pixels,
    tiff_bits,
    tiff_pages,
    white_is_zero,
    why_not_decoded,
)
from mmdensenet.errors import BadImageError

GREY = (np.arange(6 * 8, dtype=np.uint16).reshape(6, 8) * 1300).astype(np.uint16)
FLAT = GREY.astype(np.uint8)
RGB = np.stack([GREY // 256, 200 - GREY // 512, GREY // 300], -1).astype(np.uint8)


def refusal(path, content, loader):
    path.write_bytes(content)
    with pytest.raises(BadImageError) as caught:
        loader(dict(img_path=str(path)))
    return caught.value.reason


def of_kind(tag, kind):
    """A TIFF one of whose tags is of another kind, as 2 for text and 7 for bytes of no kind."""
    return tiff(FLAT.tobytes(), 8).replace(struct.pack('<HH', tag, 3), struct.pack('<HH', tag, kind))


BOTH, COLOUR, DEEP = (LoadImage(), LoadGreyImage('full')), (LoadImage(),), (LoadGreyImage('full'),)
REFUSED = {
    'lab': (tiff(RGB.tobytes(), 8, 3, 8), BOTH, 'PhotometricInterpretation 8'),
    'two channels': (tiff(np.stack([FLAT, FLAT], -1).tobytes(), 8, 2), BOTH, 'it has 2 channels'),
    'five channels': (tiff(np.stack([FLAT] * 5, -1).tobytes(), 8, 5), BOTH, 'it has 5 channels'),
    'signed': (tiff(FLAT.tobytes(), 8, more={FORMAT: [2]}), COLOUR, 'no full range'),
    'half': (tiff(GREY.astype(np.float16).tobytes(), 16, more={FORMAT: [3]}), DEEP, 'floats of 16 bits'),
    'float colours': (tiff(RGB.astype('<f4').tobytes(), 32, 3, 2, {FORMAT: [3] * 3}), COLOUR, 'no full range'),
    'planes': (
        tiff(np.moveaxis(RGB.astype('<u2') * 257, -1, 0).tobytes(), 16, 3, 2, {PLANES: [2]}), DEEP, 'one after the'
    ),
    'four bits': (tiff(packed(GREY >> 12, 4), 4), BOTH, '4 bits a channel'),
    'white float': (tiff(GREY.astype('<f4').tobytes(), 32, photometric=0, more={FORMAT: [3]}), DEEP, 'white'),
    'bits as text': (of_kind(BITS, 2), BOTH, r"its tag 258 is ('\x08',), not a whole number"),
    'bytes of no kind': (of_kind(SAMPLES, 7), BOTH, r"its tag 277 is b'\x01', not a whole number"),
    'pages': (tiff(FLAT.tobytes(), 8, pages=2), BOTH, 'it has 2 pages'),
    'pages of BigTIFF': (tiff(FLAT.tobytes(), 8, pages=3, big=True), BOTH, 'it has 3 pages'),
    'pages of floats': (tiff(RGB.astype('<f4').tobytes(), 32, 3, 2, {FORMAT: [3] * 3}, pages=2), BOTH, '2 pages'),
}  # fmt: skip


@pytest.mark.parametrize('name', REFUSED)
def test_pixels_of_other_kinds_are_named(tmp_path, name):
    content, loaders, reason = REFUSED[name]
    for loader in loaders:
        assert reason in refusal(tmp_path / 'a.tif', content, loader)
    if DEEP[0] in loaders:
        assert reason in read_picture(str(tmp_path), 'a.tif')['reason']


def test_what_directories_say():
    content = tiff(GREY.tobytes(), 16, big=True)
    assert tiff_bits(content) == (16,) and len(tiff_pages(content)) == 1
    assert tiff_bits(b'II*\0') == () and tiff_pages(b'\x89PNG') == []
    loop = bytearray(tiff(GREY.tobytes(), 16))
    start = struct.unpack('<L', loop[4:8])[0]
    loop[-4:] = struct.pack('<L', start)  # the next page is the first
    assert len(tiff_pages(bytes(loop))) == 1


@pytest.mark.parametrize('kind, there', [(1, 1), (4, 1), (2, 2)], ids=['thumbnail', 'mask', 'one of several'])
def test_thumbnails_and_masks_are_no_pages(tmp_path, kind, there):
    content = bytearray(tiff(FLAT.tobytes(), 8, pages=2, more={254: [0]}))
    content[content.rindex(struct.pack('<HHL', 254, 3, 1)) + 8] = kind
    assert len(tiff_pages(bytes(content))) == there
    (tmp_path / 'a.tif').write_bytes(content)
    if there == 1:
        assert np.array_equal(LoadImage(color_type='grayscale')(dict(img_path=str(tmp_path / 'a.tif')))['img'], FLAT)


def page(photometric, bits, samples=1, kind=None, planes=None, extra=None):
    numbers = None if bits is None else (bits,) * samples
    found = {BITS: numbers, PHOTOMETRIC: photometric, SAMPLES: samples, PLANES: planes, EXTRA: extra, FORMAT: kind}
    return {**found, FORMAT: None if kind is None else (kind,) * samples}


SEVERAL, RANGE, INVERTED = 'channels, of which some', 'no full range', 'white where they are 0'
GREYS, COLOURS, PALETTE, CMYK, YCBCR = 1, 2, 3, 5, 6
KINDS = [  # the page, and why it is refused as 8 bits and at its own depth
    (page(GREYS, None), None, None),
    (page(0, 8), None, None),
    (page(0, 16), None, None),
    (page(GREYS, 16, planes=2), None, None),
    (page(GREYS, 32), RANGE, None),
    (page(GREYS, 32, kind=3), RANGE, None),
    (page(GREYS, 16, kind=2), RANGE, None),
    (page(0, 32), RANGE, INVERTED),
    (page(0, 16, kind=2), RANGE, INVERTED),
    (page(GREYS, 8, 2, extra=(2,)), None, None),
    (page(GREYS, 8, 2, extra=(0,)), SEVERAL, SEVERAL),
    (page(PALETTE, 8), None, None),
    (page(PALETTE, 8, 3), SEVERAL, SEVERAL),
    (page(COLOURS, 8, 3, planes=2), None, None),
    (page(COLOURS, 16, 3, planes=2), None, 'stored one after the other'),
    (page(COLOURS, 16, 3, planes=1), None, None),
    (page(COLOURS, 8, 4, extra=(0,)), None, None),
    (page(COLOURS, 8, 5, extra=(2, 0)), SEVERAL, SEVERAL),
    (page(CMYK, 8, 5, extra=(2,)), None, None),
    (page(CMYK, 8, 6, extra=(2, 0)), SEVERAL, SEVERAL),
    (page(YCBCR, 8, 3), None, None),
    (page(YCBCR, 8, 5), SEVERAL, SEVERAL),
    (page(None, 8, 7), None, None),
    (page(9, 8, 3), 'PhotometricInterpretation 9', 'PhotometricInterpretation 9'),
]


@pytest.mark.parametrize('deep', [False, True])
def test_which_pixels_are_known(deep):
    for number, (given, *reasons) in enumerate(KINDS):
        found = None
        try:
            require_known_pixels('a.tif', given, deep)
        except BadImageError as error:
            found = error.reason
        reason = reasons[deep]
        assert reason in found if reason and found else reason == found, (number, found)


def test_what_a_page_says():
    assert not why_not_decoded(page(GREYS, None)) and not why_not_decoded(page(PALETTE, 4))
    assert not any(why_not_decoded(page(GREYS, bits)) for bits in (1, 8, 10, 12, 14, 16, 32, 64))
    assert all('bits a channel' in why_not_decoded(page(GREYS, bits)) for bits in (2, 4, 7, 9, 11, 13, 15, 24, 33))
    assert [bool(why_not_decoded(page(GREYS, bits, kind=3))) for bits in (16, 32, 64)] == [True, False, False]
    assert [white_is_zero(page(0, bits)) for bits in (None, 8, 10, 16)] == [False, False, True, True]
    assert not white_is_zero(page(GREYS, 16))
    alphas = [None, (2,), (1,), (2, 0), (0, 2)]
    assert [has_straight_alpha(page(COLOURS, 8, 4, extra=extra)) for extra in alphas] == [0, 1, 0, 1, 0]
    assert not has_straight_alpha(page(GREYS, 8, 2, extra=(2,)))
