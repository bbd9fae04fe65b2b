"""What the directories of a TIFF say; pixels of a kind that is not read are named."""

import struct

import numpy as np
import pytest
from support.tiff_files import FORMAT, PLANES, packed, tiff

from mmdensenet.apis.fit.pictures import read_picture
from mmdensenet.datasets import LoadGreyImage, LoadImage
from mmdensenet.datasets.tiff_header import tiff_bits, tiff_pages
from mmdensenet.errors import BadImageError

GREY = (np.arange(6 * 8, dtype=np.uint16).reshape(6, 8) * 1300).astype(np.uint16)
RGB = np.stack([GREY // 256, 200 - GREY // 512, GREY // 300], -1).astype(np.uint8)


def refusal(path, content, loader):
    path.write_bytes(content)
    with pytest.raises(BadImageError) as caught:
        loader(dict(img_path=str(path)))
    return caught.value.reason


BOTH, COLOUR, DEEP = (LoadImage(), LoadGreyImage('full')), (LoadImage(),), (LoadGreyImage('full'),)
FLAT = GREY.astype(np.uint8)
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
