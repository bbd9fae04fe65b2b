import cv2
import numpy as np
import pytest
from helpers import write_dicom
from mmpretrain.registry import TRANSFORMS
from PIL import Image

from mmdensenet.datasets import LoadGreyImage
from mmdensenet.errors import BadImageError, UserError


@pytest.fixture
def deep(tmp_path):
    """A 16-bit PNG whose values differ by less than 8 bits can tell."""
    pixels = (30000 + np.arange(12, dtype=np.uint16)).reshape(3, 4)
    cv2.imwrite(str(tmp_path / 'deep.png'), pixels)
    return str(tmp_path / 'deep.png'), pixels


def load(window, path):
    return LoadGreyImage(window).transform(dict(img_path=path))


def test_16_bits_are_read_at_full_depth(deep):
    path, pixels = deep
    result = TRANSFORMS.build(dict(type='mmdensenet.LoadGreyImage', window='full')).transform(dict(img_path=path))
    assert result['img'].dtype == np.float32 and result['img_shape'] == result['ori_shape'] == (3, 4)
    assert np.allclose(result['img'], pixels / 65535 * 255, atol=1e-5)
    assert len(np.unique(result['img'])) == 12


def test_window(deep):
    path, pixels = deep
    image = load((30002, 30006), path)['img']
    assert np.allclose(image, np.clip((pixels.astype(float) - 30002) / 4, 0, 1) * 255)


@pytest.mark.parametrize('suffix', ['png', 'tif'])
def test_8_bits_and_colours(tmp_path, suffix):
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
    cv2.imwrite(str(tmp_path / f'g.{suffix}'), grey)
    assert np.allclose(load('full', str(tmp_path / f'g.{suffix}'))['img'], grey, atol=1e-4)
    colour = np.random.default_rng(0).integers(0, 65536, (3, 4, 3), dtype=np.uint16)
    cv2.imwrite(str(tmp_path / f'c.{suffix}'), colour)
    luminance = colour @ np.array([0.114, 0.587, 0.299])
    assert np.allclose(load((0, 65535), str(tmp_path / f'c.{suffix}'))['img'], luminance / 257, atol=0.01)


def test_dicom_in_hounsfield_units(tmp_path):
    stored = np.array([[0, 24, 1024], [1424, 2024, 4000]], np.uint16)
    path = write_dicom(
        tmp_path / 'ct', stored, RescaleSlope=1, RescaleIntercept=-1024, WindowCenter=-300, WindowWidth=1400
    )
    expected = np.clip((stored - 1024.0 + 1000) / 1400, 0, 1) * 255
    assert np.allclose(load((-1000, 400), path)['img'], expected, atol=1e-4), 'found by its preamble, without a suffix'
    linear = np.clip((stored - 1024.0 + 300.5) / 1399 + 0.5, 0, 1) * 255  # PS3.3 C.11.2.1.2.1
    assert np.allclose(load('dicom', path)['img'], linear, atol=1e-4)
    assert np.allclose(load('full', path)['img'], stored / 65535 * 255, atol=1e-3), 'the stored range, carried through'


def test_dicom_inverted_and_of_12_bits(tmp_path):
    stored = np.array([[0, 1000, 4095]], np.uint16)
    path = write_dicom(tmp_path / 'x.dcm', stored, PhotometricInterpretation='MONOCHROME1', BitsStored=12, HighBit=11)
    assert np.allclose(load('full', path)['img'], 255 - stored / 4095 * 255, atol=0.01)
    with pytest.raises(UserError, match=r'x\.dcm states no window'):
        load('dicom', path)


def test_dicom_without_pydicom(tmp_path, monkeypatch):
    import sys

    path = write_dicom(tmp_path / 'x.dcm', np.zeros((2, 2), np.uint16))
    monkeypatch.setitem(sys.modules, 'pydicom', None)
    with pytest.raises(UserError, match='pip install pydicom'):
        load('full', path)


def test_mistakes(tmp_path):
    (tmp_path / 'broken.png').write_bytes(b'no')
    (tmp_path / 'broken.dcm').write_bytes(b'no')
    content = cv2.imencode('.jpg', np.zeros((64, 64), np.uint8))[1].tobytes()
    (tmp_path / 'deep.jpg').write_bytes(content[:-8])
    for name in ('broken.png', 'broken.dcm', 'deep.jpg', 'missing.png', 'missing.dcm'):
        with pytest.raises(BadImageError, match=rf'{name} cannot be read') as found:
            load('full', str(tmp_path / name))
        assert found.value.path == str(tmp_path / name) and found.value.reason, 'as BadImagesHook needs it'
    for window in ('all', (3, 3), None):
        with pytest.raises(UserError, match='window='):
            LoadGreyImage(window)
    volume = write_dicom(tmp_path / 'v.dcm', np.zeros((3, 2, 2), np.uint16), NumberOfFrames=3)
    with pytest.raises(BadImageError, match=r'shape \(3, 2, 2\)'):
        load('full', volume)


def test_absurd_sizes_are_refused_before_they_are_decoded(tmp_path):
    cv2.imwrite(str(tmp_path / 'a.png'), np.zeros((20, 30), np.uint16))
    write_dicom(tmp_path / 'a.dcm', np.zeros((20, 30), np.uint16))
    for name in ('a.png', 'a.dcm'):
        assert LoadGreyImage('full', max_pixels=600).transform(dict(img_path=str(tmp_path / name)))
        with pytest.raises(BadImageError, match='more than max_pixels=599'):
            LoadGreyImage('full', max_pixels=599).transform(dict(img_path=str(tmp_path / name)))


def test_pixels_that_are_not_numbers_and_pages(tmp_path):
    values = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
    cv2.imwrite(str(tmp_path / 'f.tif'), values)
    assert np.allclose(load((0, 1), str(tmp_path / 'f.tif'))['img'], values * 255, atol=1e-4)
    with pytest.raises(UserError, match=r'f\.tif has float32 pixels, which have no full range'):
        load('full', str(tmp_path / 'f.tif'))
    cv2.imwrite(str(tmp_path / 'i.tif'), (values * 70000).astype(np.int32))
    assert np.allclose(load((0, 70000), str(tmp_path / 'i.tif'))['img'], values * 255, atol=0.01)
    with pytest.raises(UserError, match=r'i\.tif has int32 pixels'):
        load('full', str(tmp_path / 'i.tif'))
    values[1, 1] = np.nan
    cv2.imwrite(str(tmp_path / 'n.tif'), values)
    with pytest.raises(BadImageError, match=r'n\.tif .*\(1 of its pixels are not finite'):
        load((0, 1), str(tmp_path / 'n.tif'))
    page = Image.fromarray(np.zeros((3, 4), np.uint8))
    page.save(tmp_path / 'p.tif', save_all=True, append_images=[page, page])
    page.save(tmp_path / 'one.tif')
    with pytest.raises(BadImageError, match=r'p\.tif .*it has 3 pages'):
        load('full', str(tmp_path / 'p.tif'))
    assert load('full', str(tmp_path / 'one.tif'))['img'].shape == (3, 4)


def test_planes():
    for axis in (None, 'axial', 'coronal', 'sagittal', 0, 1, 2):
        assert LoadGreyImage('full', axis=axis).axis == axis
