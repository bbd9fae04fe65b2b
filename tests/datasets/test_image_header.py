"""What a file says of its image before it is decoded."""

import itertools

import cv2
import numpy as np
import pytest

from mmdensenet.apis.fit.pictures import read_picture
from mmdensenet.datasets import LoadGreyImage, LoadImage
from mmdensenet.datasets.image_header import has_16_bits, image_size, largest_value, why_unreadable

GREY = np.arange(24, dtype=np.uint16).reshape(4, 6)


def netpbm(pixels, white, kind=5, comment=b''):
    head = b'P%d\n%s%d %d\n%d\n' % (kind, comment, pixels.shape[1], pixels.shape[0], white)
    return head + pixels.astype('u1' if white < 256 else '>u2').tobytes()


@pytest.mark.parametrize('white', [23, 100, 1023, 4095, 16383])
def test_the_white_of_a_pgm_is_what_it_states(tmp_path, white):
    """Decoders take 255 or 65535 for it."""
    pixels = GREY * (white // 23)
    (tmp_path / 'a.pgm').write_bytes(netpbm(pixels, white, comment=b'# of a detector\n'))
    info = dict(img_path=str(tmp_path / 'a.pgm'))
    expected = pixels * (255 / white)
    assert LoadGreyImage('full')(dict(info))['img'] == pytest.approx(expected, abs=1e-3)
    assert np.array_equal(LoadGreyImage((0, white))(dict(info))['img'], LoadGreyImage('full')(dict(info))['img'])
    for backend in ('cv2', 'pillow'):
        colour = LoadImage(imdecode_backend=backend)(dict(info))['img']
        assert np.array_equal(colour, np.stack([np.round(expected)] * 3, -1))
    assert read_picture(str(tmp_path), 'a.pgm')['mean'] == pytest.approx([expected.mean()] * 3, abs=0.01)


def test_the_white_of_a_ppm(tmp_path):
    pixels = np.stack([GREY, GREY[::-1], GREY * 2], -1)
    content = b'P6 6 4 100\n' + pixels.astype(np.uint8).tobytes()
    (tmp_path / 'a.ppm').write_bytes(content)
    colour = LoadImage()(dict(img_path=str(tmp_path / 'a.ppm')))['img'][..., ::-1]
    assert np.array_equal(colour, np.round(pixels * 2.55))


def test_what_headers_say_of_depth():
    assert largest_value(netpbm(GREY, 255)) is None and largest_value(netpbm(GREY, 65535)) is None
    assert largest_value(netpbm(GREY, 4095)) == 4095
    assert has_16_bits(netpbm(GREY, 65535)) and not has_16_bits(netpbm(GREY, 255))
    assert not has_16_bits(b'') and largest_value(b'P5') is None
    # as long as a stranger's file has spaces and comments, a look at its header ends
    assert largest_value(b'P5' + b' ' * 5_000 + b'x') is None and largest_value(b'P5' + b' #\n' * 5_000 + b'1') is None
    assert largest_value(b'P5 # 1\n2\n#\n 3#of 12 bits\n4095\n') == 4095


@pytest.mark.parametrize('content, reason', [
    (b'', 'empty'),
    (b'\0\0\0\x18ftypheic\0\0\0\0', 'it is HEIC'),
    (b'\0\0\0\x18ftypmif1\0\0\0\0', 'it is HEIC'),
    (b'\0\0\0\x18ftypavif\0\0\0\0', 'it is AVIF'),
    (b'\0\0\0\x18ftypisom\0\0\0\0', 'it is not an image'),
    (b'RIFF\x10\0\0\0WEBPVP8L', 'cut short'),
    (b'<html>', 'it is not an image'),
])  # fmt: skip
def test_why_no_decoder_takes_it(content, reason):
    assert reason in why_unreadable(content)


def test_a_jpegs_size_does_not_depend_on_the_one_before():
    """A header like the last one is not read again; a damaged one has its size behind the beginning of the scan."""
    files = [cv2.imencode('.jpg', np.zeros((*shape, 3), np.uint8))[1].tobytes() for shape in [(6, 4), (9, 4), (6, 4)]]
    files += [b'\xff\xd8\xff\xc0\0\2\xff\xda' + bytes([7, size]) + bytes(20) for size in (1, 2)]
    files.append(files[0][: files[0].index(b'\xff\xda') + 5])  # its scan begins too near to its end
    alone = []
    for file in files:
        image_size(b'\xff\xd8\xff\xda' + bytes(20))
        alone.append(image_size(file))
    assert alone[:3] == [(4, 6), (4, 9), (4, 6)] and alone[3] != alone[4]
    for first, second in itertools.product(range(len(files)), repeat=2):
        assert [image_size(files[first]), image_size(files[second])] == [alone[first], alone[second]]
