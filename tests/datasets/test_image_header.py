"""What a file says of its image before it is decoded."""

import io
import itertools
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from mmdensenet.apis.fit.pictures import read_picture
from mmdensenet.datasets import LoadGreyImage, LoadImage
from mmdensenet.datasets.image_header import (
    MAX_PIXELS,
    check_content,
    has_16_bits,
    image_size,
    is_cut,
    jpeg_scans,
    largest_value,
    why_unreadable,
)
from mmdensenet.errors import BadImageError

GREY = np.arange(24, dtype=np.uint16).reshape(4, 6)
PICTURE = Image.fromarray(np.arange(48 * 64 * 3, dtype=np.uint16).astype(np.uint8).reshape(48, 64, 3))
TURNED = Image.Exif()
TURNED[274] = 6


def file_of(kind, **options):
    file = io.BytesIO()
    PICTURE.save(file, kind, **options)
    return file.getvalue()


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
    pixels[0, 0] = 110  # above its white
    content = b'P6 6 4 100\n' + pixels.astype(np.uint8).tobytes()
    (tmp_path / 'a.ppm').write_bytes(content)
    colour = LoadImage()(dict(img_path=str(tmp_path / 'a.ppm')))['img'][..., ::-1]
    assert np.array_equal(colour, np.round(pixels * 2.55).clip(0, 255))


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


@pytest.mark.parametrize('more', [b'\xff', b'\xff\x01', b'\xff\xd0', b'\xff\xd8', b'\xff\xe1\0\4\xff\xda'])
def test_the_segments_of_a_jpeg(more):
    """Fill bytes, markers without a length, and segments of others."""
    content = file_of('jpeg')
    content = content[:2] + more + content[2:]
    assert image_size(content) == (64, 48) and jpeg_scans(content) == 1 and not is_cut(content)
    assert is_cut(content[:-1]) and not is_cut(content + b'appended')


def test_a_jpeg_without_a_size():
    assert image_size(b'\xff\xd8' + bytes(30)) == image_size(b'\xff\xd8\xff\xda' + bytes(20)) == (0, 0)
    assert jpeg_scans(file_of('jpeg', progressive=True)) > 5 and jpeg_scans(file_of('png')) == 0


def test_a_header_of_gigapixels():
    """Pillow refuses it."""
    header = struct.pack('<2sLHHL', b'BM', 54, 0, 0, 54) + struct.pack(
        '<LllHHLLllLL', 40, 20000, 20000, 1, 24, *[0] * 6
    )
    with pytest.raises(BadImageError, match='more than max_pixels'):
        check_content('a.bmp', header, MAX_PIXELS)


def test_the_chunks_of_a_png():
    content = file_of('png')
    header, rest = content[:33], content[33:]

    def frame(*numbers):
        return header + chunk(b'fcTL', struct.pack('>IIIIIHHBB', 0, *numbers, 1, 1, 0, 0)) + rest

    assert not is_cut(content) and not is_cut(frame(64, 48, 0, 0)) and not is_cut(frame(60, 40, 4, 8))
    assert is_cut(frame(64, 48, 1, 0)) and is_cut(frame(64, 48, 0, 1)) and is_cut(frame(65, 1, 0, 0))
    assert not is_cut(header + chunk(b'fcTL', b'short') + chunk(b'teXt', b'\xff' * 40) + rest)
    assert all(is_cut(content[:length]) for length in range(8, len(content)))


@pytest.mark.parametrize('options', [{}, dict(progressive=True), dict(exif=TURNED), dict(restart_marker_rows=1)])
def test_a_decoder_that_fills_a_cut_jpeg_up_is_not_believed(tmp_path, monkeypatch, options):
    """As OpenCV before version 5 does."""
    content = file_of('jpeg', **options)
    (tmp_path / 'a.jpg').write_bytes(content)
    assert not is_cut(content) and not is_cut(content + b'appended')
    monkeypatch.setattr('cv2.imdecode', lambda *args: np.asarray(PICTURE))
    assert LoadImage()(dict(img_path=str(tmp_path / 'a.jpg')))['img'].shape == (48, 64, 3)
    for length in (*range(2, len(content), 97), len(content) - 1):
        (tmp_path / 'cut.jpg').write_bytes(content[:length])
        with pytest.raises(BadImageError, match=r'cut\.jpg'):
            LoadImage()(dict(img_path=str(tmp_path / 'cut.jpg')))


def chunk(kind, data, length=None):
    stated = struct.pack('>I', len(data) if length is None else length)
    return stated + kind + data + struct.pack('>I', zlib.crc32(kind + data))


@pytest.mark.parametrize('loader', [LoadImage(), LoadGreyImage('full')], ids=['colour', 'grey'])
@pytest.mark.parametrize('case', ['length', 'frame', 'end', 'header'])
def test_a_png_that_claims_more_than_it_has_is_refused_before_it_is_decoded(tmp_path, monkeypatch, loader, case):
    """OpenCV 5 makes room for a chunk's stated length, of up to 2 GB, first."""
    content = file_of('png')
    header, rest = content[:33], content[33:]
    frame = struct.pack('>IIIIIHHBB', 0, 40000, 40000, 0, 0, 1, 1, 0, 0)
    broken = {
        'length': header + chunk(b'teXt', b'', 0x7FFFFFF0) + rest,
        'frame': header + chunk(b'acTL', struct.pack('>II', 1, 0)) + chunk(b'fcTL', frame) + rest,
        'end': content[:-12],
        'header': content[:8] + chunk(b'teXt', b'x') + content[8:],
    }[case]
    (tmp_path / 'broken.png').write_bytes(broken)
    monkeypatch.setattr('cv2.imdecode', lambda *args: pytest.fail('decoded'))
    with pytest.raises(BadImageError, match=r'broken\.png cannot be read as an image'):
        loader.transform(dict(img_path=str(tmp_path / 'broken.png')))
