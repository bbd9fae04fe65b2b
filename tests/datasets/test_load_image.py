"""Odd images: each loads right, or is named with the reason."""

import os
import struct
import zlib
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmcv.transforms import LoadImageFromFile
from PIL import Image, ImageOps

from mmdensenet.datasets import LoadGreyImage, LoadImage
from mmdensenet.datasets.image_header import image_size
from mmdensenet.datasets.load_image import read_bytes
from mmdensenet.errors import BadImageError, UserError

ROWS, COLUMNS = np.mgrid[0:48, 0:64]
RGB = np.stack([COLUMNS * 4, ROWS * 5, (COLUMNS + ROWS) * 2], -1).astype(np.uint8)
PICTURE = Image.fromarray(RGB)


def load(path, **arguments):
    """RGB."""
    return LoadImage(**arguments).transform(dict(img_path=str(path)))['img'][..., ::-1]


def oriented(number):
    exif = Image.Exif()
    exif[274] = number
    return exif


def close(found, expected, tolerance):
    assert found.shape == expected.shape and found.dtype == np.uint8
    assert np.abs(found.astype(int) - expected.astype(int)).mean() <= tolerance


def other_frame():
    return PICTURE.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


SIXTEEN = COLUMNS.astype(np.uint16) * 1000 + ROWS.astype(np.uint16)
#: name -> (writes the file, the RGB that is right, mean error allowed)
RIGHT = {
    'a.png': (lambda f: PICTURE.save(f), RGB, 0),
    'a.jpg': (lambda f: PICTURE.save(f, quality=95), RGB, 2),
    'a.webp': (lambda f: PICTURE.save(f, lossless=True), RGB, 0),
    'a.bmp': (lambda f: PICTURE.save(f), RGB, 0),
    'a.tiff': (lambda f: PICTURE.save(f), RGB, 0),
    'cmyk.jpg': (lambda f: PICTURE.convert('CMYK').save(f, quality=95), RGB, 3),
    'grey16.png': (lambda f: Image.fromarray(SIXTEEN).save(f), np.stack([SIXTEEN >> 8] * 3, -1), 0.6),
    'grey16.tiff': (lambda f: Image.fromarray(SIXTEEN).save(f), np.stack([SIXTEEN >> 8] * 3, -1), 0.6),
    'rgb16.png': (lambda f: cv2.imwrite(str(f), RGB[..., ::-1].astype(np.uint16) * 257), RGB, 0.6),
    'one-bit.png': (
        lambda f: PICTURE.convert('1').save(f), np.stack([np.asarray(PICTURE.convert('1')) * 255] * 3, -1), 0
    ),
    'grey.png': (lambda f: PICTURE.convert('L').save(f), np.stack([np.asarray(PICTURE.convert('L'))] * 3, -1), 0),
    'palette.png': (lambda f: PICTURE.convert('P').save(f), np.asarray(PICTURE.convert('P').convert('RGB')), 0),
    'alpha.png': (lambda f: PICTURE.convert('RGBA').save(f), RGB, 0),
    'animated.gif': (
        lambda f: PICTURE.save(f, save_all=True, append_images=[other_frame()]), RGB, 4
    ),
    'animated.webp': (lambda f: PICTURE.save(f, save_all=True, append_images=[other_frame()], lossless=True), RGB, 0),
    'animated.png': (lambda f: PICTURE.save(f, save_all=True, append_images=[other_frame()]), RGB, 0),
    'one.png': (lambda f: Image.new('RGB', (1, 1), (9, 8, 7)).save(f), np.array([[[9, 8, 7]]], np.uint8), 0),
    'png-named.jpg': (lambda f: PICTURE.save(f, format='png'), RGB, 0),
    'jpeg-named.png': (lambda f: PICTURE.save(f, format='jpeg', quality=95), RGB, 2),
    'größe 大きさ 🐈.png': (lambda f: PICTURE.save(f), RGB, 0),
    'a\nb\tc.png': (lambda f: PICTURE.save(f), RGB, 0),
}  # fmt: skip


@pytest.mark.parametrize('name', RIGHT)
def test_loads_right(tmp_path, name):
    write, expected, tolerance = RIGHT[name]
    write(tmp_path / name)
    found = load(tmp_path / name)
    close(found, expected.astype(np.uint8), tolerance)
    theirs = LoadImageFromFile().transform(dict(img_path=str(tmp_path / name)))
    assert np.array_equal(theirs['img'][..., ::-1], found), 'what mmpretrain loads'


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('suffix', ['jpg', 'png'])
def test_exif_rotation_is_applied(tmp_path, orientation, suffix):
    """mmpretrain's default."""
    file = tmp_path / f'a.{suffix}'
    PICTURE.save(file, exif=oriented(orientation), **(dict(quality=95) if suffix == 'jpg' else {}))
    with Image.open(file) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert('RGB'))
    close(load(file), expected, 2)
    if suffix == 'jpg':  # OpenCV's own number of a flag, as mmcv takes it
        assert np.array_equal(load(file, color_type=1), load(file))


@pytest.mark.parametrize('backend', ['cv2', 'pillow'])
@pytest.mark.parametrize('suffix', ['png', 'tiff'])
def test_16_bits_are_scaled_by_each_decoder(tmp_path, backend, suffix):
    Image.fromarray(SIXTEEN).save(tmp_path / f'a.{suffix}', **(dict(exif=oriented(6)) if suffix == 'png' else {}))
    expected = np.rot90(SIXTEEN >> 8, -1) if suffix == 'png' else SIXTEEN >> 8
    close(load(tmp_path / f'a.{suffix}', imdecode_backend=backend), np.stack([expected] * 3, -1).astype(np.uint8), 0.6)
    file = dict(img_path=str(tmp_path / f'a.{suffix}'))
    grey = LoadImage(imdecode_backend=backend, color_type='grayscale').transform(file)['img']
    close(grey, expected.astype(np.uint8), 0.6)


@pytest.mark.parametrize('pixels', [SIXTEEN / np.float32(65535), SIXTEEN.astype(np.int32) * 30000])
@pytest.mark.parametrize('backend', ['cv2', 'pillow'])
def test_pixels_without_a_full_range_are_named(tmp_path, pixels, backend):
    """Never black or white without a word."""
    Image.fromarray(pixels).save(tmp_path / 'a.tiff')
    with pytest.raises(BadImageError, match='no full range'):
        load(tmp_path / 'a.tiff', imdecode_backend=backend)


@pytest.mark.parametrize('loader', [LoadImage(), LoadGreyImage('full')])
def test_pipes_and_devices_are_named_at_once(tmp_path, loader):
    """Reading them may never end."""
    os.mkfifo(tmp_path / 'pipe.png')
    (tmp_path / 'zero.png').symlink_to('/dev/zero')
    for name in ('pipe.png', 'zero.png'):
        with pytest.raises(BadImageError, match=f'{name}.*not a regular file'):
            loader.transform(dict(img_path=str(tmp_path / name)))


def test_a_file_is_read_whole(tmp_path, monkeypatch):
    """Also one that is longer than its size when it was opened, as it may still be written."""
    file = tmp_path / 'a'
    for content in (b'', b'x', bytes(range(256)) * 5000):
        file.write_bytes(content)
        assert read_bytes(str(file)) == read_bytes(file) == content
        assert read_bytes(str(file), backend_args=dict(backend='local')) == content
    lseek = os.lseek
    with monkeypatch.context() as patch:
        patch.setattr(os, 'lseek', lambda fd, place, how: lseek(fd, place, how) + 1)  # grew since it was read
        for content in (b'', b'x'):
            file.write_bytes(content)
            assert read_bytes(str(file)) == content
    file.write_bytes(content := bytes(range(256)) * 5000)
    fstat = os.fstat
    for size in (0, 5, 10**7):
        monkeypatch.setattr(os, 'fstat', lambda fd, size=size: SimpleNamespace(st_mode=fstat(fd).st_mode, st_size=size))
        assert read_bytes(str(file)) == content


def large_png(path, width=20000, height=20000):
    """One bit a pixel, all black: 400 million pixels in 60 kB."""

    def chunk(name, data):
        return struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data))

    rows = zlib.compress(bytes((width // 8 + 1) * height), 9)
    header = struct.pack('>IIBBBBB', width, height, 1, 0, 0, 0, 0)
    path.write_bytes(b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IDAT', rows) + chunk(b'IEND', b''))


def cut(path, share, suffix):
    PICTURE.save(path, format=suffix)
    os.truncate(path, int(path.stat().st_size * share))


#: name -> (writes the file, the reason)
BAD = {
    'empty.jpg': (lambda f: f.touch(), 'the file is empty'),
    'text.jpg': (lambda f: f.write_text('not an image' * 50), 'it is not an image'),
    'page.png': (lambda f: f.write_text('<html>404</html>'), 'it is not an image'),
    'large.png': (large_png, r'20000x20000 is more than max_pixels=134,217,728'),
    'missing.jpg': (lambda f: None, 'no such file or directory'),
    'folder.jpg': (lambda f: f.mkdir(), 'is a directory'),
    'cut 大.jpg': (lambda f: cut(f, 0.5, 'jpeg'), 'it is cut short or damaged'),
    **{
        f'cut{share}.{suffix}': (lambda f, share=share, suffix=suffix: cut(f, share, suffix), 'it is ')
        for share in (0.3, 0.9)
        for suffix in ('jpeg', 'png', 'gif', 'bmp', 'webp', 'tiff')
    },
}


@pytest.mark.parametrize('name', BAD)
def test_is_named(tmp_path, name):
    write, reason = BAD[name]
    write(tmp_path / name)
    with pytest.raises(BadImageError, match=reason) as found:
        load(tmp_path / name)
    assert found.value.path == str(tmp_path / name) and str(found.value).startswith(str(tmp_path / name))
    assert '\n' not in str(found.value)


def test_no_permission(tmp_path, monkeypatch):
    """The system's answer is made here: root may read anything."""
    PICTURE.save(tmp_path / 'a.png')

    def refuse(*_, **__):
        raise PermissionError(13, 'Permission denied', str(tmp_path / 'a.png'))

    monkeypatch.setattr('mmdensenet.datasets.load_image._read_file', refuse)
    with pytest.raises(BadImageError, match=r'a\.png cannot be read as an image.*permission denied'):
        load(tmp_path / 'a.png')


def test_large_images_can_be_allowed(tmp_path):
    large_png(tmp_path / 'a.png', 4000, 3000)
    assert load(tmp_path / 'a.png', max_pixels=12_000_000).shape == (3000, 4000, 3)
    with pytest.raises(BadImageError, match=r'4000x3000 is more than max_pixels=11,999,999'):
        load(tmp_path / 'a.png', max_pixels=11_999_999)


def test_the_decoder_is_the_one_that_is_named(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr('mmcv.imfrombytes', lambda content, flag, backend: asked.append(backend) or RGB)
    PICTURE.save(tmp_path / 'a.png')
    for backend in ('pillow', None, 'cv2'):
        load(tmp_path / 'a.png', imdecode_backend=backend)
    assert asked == ['pillow', 'cv2', 'cv2']


def test_another_image_is_never_taken():
    with pytest.raises(UserError, match='BadImagesHook'):
        LoadImage(ignore_empty=True)


@pytest.fixture(scope='module')
def originals(tmp_path_factory):
    folder = tmp_path_factory.mktemp('originals')
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8))
    made = {}
    for suffix in ('jpeg', 'png', 'webp', 'bmp', 'gif', 'tiff'):
        noise.save(folder / f'a.{suffix}')
        content = (folder / f'a.{suffix}').read_bytes()
        assert image_size(content) == (50, 40)
        made[suffix] = content, load(folder / f'a.{suffix}')
    return made


fast = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@fast
@given(suffix=st.sampled_from(['jpeg', 'png', 'webp', 'bmp', 'gif', 'tiff']), data=st.data())
def test_a_cut_image_is_the_whole_one_or_named(tmp_path, originals, suffix, data):
    """Never half of one."""
    content, whole = originals[suffix]
    length = data.draw(st.integers(0, len(content) - 1))
    (tmp_path / 'cut').write_bytes(content[:length])
    try:
        found = load(tmp_path / 'cut')
    except BadImageError as error:
        assert str(tmp_path / 'cut') in str(error)
    else:
        assert np.array_equal(found, whole)


@fast
@given(suffix=st.sampled_from(['jpeg', 'png', 'webp', 'bmp', 'gif', 'tiff']), data=st.data())
def test_a_changed_image_loads_or_is_named(tmp_path, originals, suffix, data):
    """Whatever the bytes lead to, no other error; headers that claim gigapixels too."""
    content = bytearray(originals[suffix][0])
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, min(len(content), 300) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / 'changed').write_bytes(content)
    try:
        found = load(tmp_path / 'changed', max_pixels=1_000_000)
    except BadImageError as error:
        assert str(tmp_path / 'changed') in str(error)
    else:
        assert found.ndim == 3 and found.dtype == np.uint8


@fast
@given(content=st.binary(max_size=200))
def test_any_bytes_are_named(tmp_path, content):
    (tmp_path / 'any').write_bytes(content)
    with pytest.raises(BadImageError):
        load(tmp_path / 'any')


def test_large_jpegs_at_reduced_size(tmp_path):
    """Near to the mean over the pixels that become one, and turned as the file says."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)).resize((480, 360), Image.BICUBIC)
    coarse.save(tmp_path / 'x.jpg', quality=95)
    exif = Image.Exif()
    exif[274] = 6
    coarse.save(tmp_path / 'turned.jpg', quality=95, exif=exif)
    coarse.save(tmp_path / 'x.png')

    def load(name, **options):
        return LoadImage(**options).transform(dict(img_path=str(tmp_path / name)))['img'].astype(float)

    whole = load('x.jpg')
    for reduce_to, factor in ((360, 1), (181, 1), (180, 2), (100, 2), (90, 4), (45, 8), (3, 8)):
        given = load('x.jpg', reduce_to=reduce_to)
        mean = whole.reshape(360 // factor, factor, 480 // factor, factor, 3).mean((1, 3))
        assert given.shape == mean.shape and np.abs(given - mean).max() < 12 and np.abs(given - mean).mean() < 1.5
        grey = load('x.jpg', reduce_to=reduce_to, color_type='grayscale')
        assert np.abs(grey - given @ [0.114, 0.587, 0.299]).mean() < 2
    assert load('turned.jpg', reduce_to=100).shape == (240, 180, 3)
    assert load('turned.jpg', reduce_to=100, color_type='color_ignore_orientation').shape == (180, 240, 3)
    assert np.array_equal(load('x.png', reduce_to=3), load('x.png'))
    for wrong in (
        dict(reduce_to=0),
        dict(reduce_to=9, imdecode_backend='pillow'),
        dict(reduce_to=9, color_type='unchanged'),
    ):
        with pytest.raises(UserError, match='LoadImage reduce_to'):
            LoadImage(**wrong)
