"""TIFFs that OpenCV decodes to other pixels than the file's load right."""

import itertools

import cv2
import numpy as np
import pytest
from support.tiff_files import EXTRA, FORMAT, packed, tiff

from mmdensenet.apis.fit.pictures import read_picture
from mmdensenet.datasets import LoadGreyImage, LoadImage

GREY = (np.arange(6 * 8, dtype=np.uint16).reshape(6, 8) * 1300).astype(np.uint16)
RGB = np.stack([GREY // 256, 200 - GREY // 512, GREY // 300], -1).astype(np.uint8)


def reads(path, content):
    """What each reader makes of a file: 8 bits in colour and grey, grey at full depth, and the mean that fit finds."""
    path.write_bytes(content)
    info = dict(img_path=str(path))
    deep = LoadGreyImage('full')(dict(info))['img']
    found = read_picture(str(path.parent), path.name)
    assert found.get('mean') == pytest.approx([deep.mean()] * 3, abs=0.5), found
    colour = LoadImage()(dict(info))['img']
    return colour, LoadImage(color_type='grayscale')(dict(info))['img'], deep


@pytest.mark.parametrize('backend', ['cv2', 'pillow'])
@pytest.mark.parametrize('big', [False, True])
def test_sixteen_bits_of_which_zero_is_white(tmp_path, backend, big):
    content = tiff(GREY.tobytes(), 16, photometric=0, big=big)
    colour, grey, deep = reads(tmp_path / 'a.tif', content)
    expected = (65535 - GREY) // 256
    assert np.array_equal(grey, expected) and np.array_equal(colour[..., 1], expected)
    assert deep == pytest.approx((65535 - GREY.astype(float)) / 257, abs=1e-3)
    loaded = LoadImage(imdecode_backend=backend)(dict(img_path=str(tmp_path / 'a.tif')))['img']
    assert np.array_equal(loaded, colour)


@pytest.mark.parametrize('photometric', [0, 1])
@pytest.mark.parametrize('bits', [10, 12, 14])
def test_bits_of_a_detector(tmp_path, bits, photometric):
    """Right at the file's own depth, where a window is of its values, and in 8 bits."""
    white = 2**bits - 1
    stored = GREY >> (16 - bits)
    stored[0, 0] = white
    shown = white - stored if photometric == 0 else stored
    colour, grey, deep = reads(tmp_path / 'a.tif', tiff(packed(stored, bits), bits, photometric=photometric))
    assert deep == pytest.approx(shown * (255 / white), abs=1e-3)
    assert np.array_equal(grey, np.round(shown * (255 / white))) and np.array_equal(colour[..., 0], grey)
    window = LoadGreyImage((0, white))(dict(img_path=str(tmp_path / 'a.tif')))['img']
    assert np.array_equal(window, deep)


def test_colours_of_transparent_places(tmp_path):
    """As those of a PNG are: kept, not made black."""
    alpha = np.zeros((6, 8, 1), np.uint8)
    alpha[:, 4:] = 255
    content = tiff(np.concatenate([RGB, alpha], -1).tobytes(), 8, 4, 2, {EXTRA: [2]})
    (tmp_path / 'a.tif').write_bytes(content)
    cv2.imwrite(str(tmp_path / 'a.png'), np.concatenate([RGB[..., ::-1], alpha], -1))
    for name in ('a.tif', 'a.png'):
        assert np.array_equal(LoadImage()(dict(img_path=str(tmp_path / name)))['img'][..., ::-1], RGB)
        grey = LoadGreyImage('full')(dict(img_path=str(tmp_path / name)))['img']
        assert grey == pytest.approx(cv2.cvtColor(RGB, cv2.COLOR_RGB2GRAY), abs=0)
    deep = np.concatenate([RGB.astype(np.uint16) * 256 + 200, alpha.astype(np.uint16) * 257], -1)
    (tmp_path / 'b.tif').write_bytes(tiff(deep.tobytes(), 16, 4, 2, {EXTRA: [2]}))
    assert np.array_equal(LoadImage()(dict(img_path=str(tmp_path / 'b.tif')))['img'][..., ::-1], RGB)
    # turned as the file says by each way of reading, whatever is asked for
    (tmp_path / 'c.tif').write_bytes(tiff(content[16:208], 8, 4, 2, {EXTRA: [2], 274: [6]}))
    (tmp_path / 'd.tif').write_bytes(tiff(RGB.tobytes(), 8, 3, 2, {274: [6]}))
    for name, color_type in itertools.product('cd', ('color', 'color_ignore_orientation')):
        turned = LoadImage(color_type=color_type)(dict(img_path=str(tmp_path / f'{name}.tif')))['img']
        assert np.array_equal(turned[..., ::-1], np.rot90(RGB, -1))


def test_floats_have_their_own_depth(tmp_path):
    (tmp_path / 'a.tif').write_bytes(tiff((GREY / 1000).astype('<f4').tobytes(), 32, more={FORMAT: [3]}))
    found = LoadGreyImage((0, 50))(dict(img_path=str(tmp_path / 'a.tif')))['img']
    assert found == pytest.approx((GREY / 1000).clip(0, 50) * 5.1, abs=1e-3)
