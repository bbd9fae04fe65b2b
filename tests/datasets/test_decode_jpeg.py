"""JPEG files are decoded to OpenCV's pixels, whichever library does it."""

import random
from io import BytesIO
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from PIL import Image

from mmdensenet.datasets import decode_jpeg as module
from mmdensenet.datasets.decode_jpeg import decode_jpeg
from mmdensenet.datasets.image_header import usual_sampling

GENERATOR = np.random.default_rng(0)
EXIF = Image.Exif()
EXIF[0x0112] = 6  # turned


def picture(width, height):
    return Image.fromarray(cv2.resize(GENERATOR.integers(0, 256, (5, 6, 3), np.uint8), (width, height)))


def jpeg(image, **options):
    file = BytesIO()
    image.save(file, 'jpeg', **options)
    return file.getvalue()


def by_opencv(content, flags=cv2.IMREAD_COLOR):
    return cv2.imdecode(np.frombuffer(content, np.uint8), flags)


@pytest.fixture
def taken(monkeypatch):
    """The lengths of the files that simplejpeg decodes."""
    library = pytest.importorskip('simplejpeg')
    lengths = []

    def decode(content, colours):
        lengths.append(len(content))
        return library.decode_jpeg(content, colours)

    monkeypatch.setattr(module, 'simplejpeg', SimpleNamespace(decode_jpeg=decode))
    monkeypatch.setattr(module, '_agrees', {})
    return lengths


@pytest.mark.parametrize(('subsampling', 'sampling'), [('4:4:4', 0x11), ('4:2:2', 0x21), ('4:2:0', 0x22)])
@pytest.mark.parametrize('options', [dict(quality=100), dict(quality=20, optimize=True, restart_marker_blocks=2)])
def test_usual_files_have_opencvs_pixels(taken, subsampling, sampling, options):
    sizes = [(1, 1), (2, 3), (7, 9), (8, 8), (16, 15), (17, 33), (32, 32), (50, 37)]
    for width, height in sizes:
        content = jpeg(picture(width, height), subsampling=subsampling, comment=b'a comment', **options)
        assert usual_sampling(content) == sampling
        for flags in (cv2.IMREAD_COLOR, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION):
            found = decode_jpeg(content, flags)
            assert np.array_equal(found, by_opencv(content, flags)) and found.dtype == np.uint8
    assert len(taken) == 2 * len(sizes) and module._agrees == {sampling: True}


UNUSUAL = {
    'progressive': jpeg(picture(20, 30), progressive=True),
    'turned': jpeg(picture(20, 30), exif=EXIF),
    'grey': jpeg(picture(20, 30).convert('L')),
    'CMYK': jpeg(picture(20, 30).convert('CMYK')),
    'RGB': jpeg(picture(20, 30), keep_rgb=True),
}


@pytest.mark.parametrize('kind', UNUSUAL)
@pytest.mark.parametrize('flags', [cv2.IMREAD_COLOR, cv2.IMREAD_GRAYSCALE, cv2.IMREAD_UNCHANGED])
def test_other_files_are_opencvs(taken, kind, flags):
    content = UNUSUAL[kind]
    assert usual_sampling(content) is None
    assert np.array_equal(decode_jpeg(content, flags), by_opencv(content, flags)) and taken == []


@pytest.mark.parametrize('flags', [cv2.IMREAD_GRAYSCALE, cv2.IMREAD_UNCHANGED, cv2.IMREAD_REDUCED_COLOR_2])
def test_other_wishes_are_opencvs(taken, flags):
    content = jpeg(picture(20, 30))
    assert np.array_equal(decode_jpeg(content, flags), by_opencv(content, flags)) and taken == []


def test_damaged_files_are_as_opencv_has_them(taken):
    """What libjpeg only warns of too, such as a scan that ends early."""
    choice = random.Random(0)
    for _ in range(200):
        content = bytearray(jpeg(picture(24, 20)))
        for _ in range(choice.choice((1, 1, 3))):
            content[choice.randrange(2, len(content))] = choice.randrange(256)
        outcomes = []
        for decode in (by_opencv, decode_jpeg):
            try:
                outcomes.append(decode(bytes(content), cv2.IMREAD_COLOR))
            except cv2.error:
                outcomes.append('refused')
        expected, found = outcomes
        assert type(found) is type(expected)
        assert not isinstance(found, np.ndarray) or np.array_equal(found, expected)
    assert len(taken) > 100
    whole = jpeg(picture(24, 20))
    for end in range(20, len(whole), 40):
        expected, found = by_opencv(whole[:end]), decode_jpeg(whole[:end], cv2.IMREAD_COLOR)
        assert type(found) is type(expected) and (found is None or np.array_equal(found, expected))


def test_a_library_with_other_pixels_is_not_taken(monkeypatch):
    calls = []

    def decode(content, colours):
        calls.append(1)
        return by_opencv(content) ^ 1

    monkeypatch.setattr(module, 'simplejpeg', SimpleNamespace(decode_jpeg=decode))
    monkeypatch.setattr(module, '_agrees', {})
    for _ in range(3):
        content = jpeg(picture(20, 30), subsampling='4:2:0')
        assert np.array_equal(decode_jpeg(content, cv2.IMREAD_COLOR), by_opencv(content))
    assert calls == [1] and module._agrees == {0x22: False}


def test_without_the_library_it_is_opencv(monkeypatch):
    monkeypatch.setattr(module, 'simplejpeg', None)
    content = jpeg(picture(20, 30))
    assert np.array_equal(decode_jpeg(content, cv2.IMREAD_COLOR), by_opencv(content))
