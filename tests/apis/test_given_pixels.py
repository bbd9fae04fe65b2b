"""Images in memory are what the loading step makes of their files."""

import numpy as np
import pytest
from mmpretrain.registry import TRANSFORMS
from PIL import Image
from tiff_files import tiff

from mmdensenet.apis.given_pixels import pillow_pixels
from mmdensenet.apis.inference import Inferencer
from mmdensenet.errors import UserError

LOADERS = {
    'colour': (3, dict(type='LoadImageFromFile')),
    'grey': (1, dict(type='LoadImageFromFile', color_type='grayscale')),
    'window': (1, dict(type='mmdensenet.LoadGreyImage', window=(1000, 60_000))),
}
COLOURS = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
DEEP = np.random.default_rng(1).integers(0, 65_536, (9, 7), dtype=np.uint16)


def opened(name: str) -> Inferencer:
    """An inferencer that has a loading step and no model."""
    channels, loader = LOADERS[name]
    inferencer = Inferencer.__new__(Inferencer)
    inferencer.use_pipeline([loader, dict(type='PackInputs')], channels, True)
    return inferencer


def exif(image: Image.Image) -> dict:
    """Turned by a quarter."""
    data = image.getexif()
    data[274] = 6
    return dict(exif=data)


@pytest.mark.parametrize('loader', LOADERS)
@pytest.mark.parametrize(
    ('image', 'ending'),
    [
        (Image.fromarray(COLOURS), 'png'),
        (Image.fromarray(COLOURS[..., 0]), 'png'),
        (Image.fromarray(COLOURS).convert('P'), 'png'),
        (Image.fromarray(COLOURS).convert('RGBA'), 'png'),
        (Image.fromarray(COLOURS[..., 0] > 99), 'png'),
        (Image.fromarray(DEEP), 'png'),
        (Image.fromarray(DEEP), 'tif'),
    ],
    ids=['RGB', 'L', 'P', 'RGBA', '1', 'I;16', 'I;16 TIFF'],
)
def test_pillow_images(tmp_path, loader, image, ending):
    turned = ending == 'png'  # Pillow 13 does not turn TIFF files
    file = tmp_path / f'image.{ending}'
    image.save(file, **(exif(image) if turned else {}))
    inferencer = opened(loader)
    expected = inferencer.loader(dict(img_path=str(file)))['img']
    with Image.open(file) as found:
        given = inferencer.prepare(found)['inputs'].numpy()
    expected = np.atleast_3d(expected).transpose(2, 0, 1)
    assert given.shape == expected.shape == (inferencer.channels, *((7, 9) if turned else (9, 7)))
    # the decoder's own grey of colours is another rounding
    assert np.abs(given.astype(float) - expected).max() <= (1 if inferencer.channels == 1 else 0)


RAMP = np.arange(64, dtype=np.int64).reshape(8, 8)
TWELVE = RAMP * 65


def packed(values, bits: int) -> bytes:
    """Rows of so many bits a value, each from a whole byte on."""
    return b''.join(np.packbits([int(bit) for value in row for bit in f'{value:0{bits}b}']).tobytes() for row in values)


DEEP_FILES = {
    'a.tif': tiff(packed(TWELVE, 12), 12, shape=(8, 8)),
    'a.pgm': b'P5 8 8 4095\n' + TWELVE.astype('>u2').tobytes(),
}


@pytest.mark.parametrize('name', DEEP_FILES)
@pytest.mark.parametrize('window', [None, 'full', (100, 4000)])
def test_pillow_images_of_another_white(tmp_path, name, window):
    """As their files, or refused."""
    loader = (
        dict(type='mmdensenet.LoadGreyImage', window=window)
        if window
        else dict(type='mmdensenet.LoadImage', color_type='grayscale')
    )
    inferencer = Inferencer.__new__(Inferencer)
    inferencer.use_pipeline([loader, dict(type='PackInputs')], 1, True)
    file = tmp_path / name
    file.write_bytes(DEEP_FILES[name])
    expected = inferencer.loader(dict(img_path=str(file)))['img']
    refused = {('a.tif', 'full'): 'its white is 4095', ('a.pgm', (100, 4000)): 'has scaled the values'}
    with Image.open(file) as image:
        if (name, window) in refused:
            with pytest.raises(UserError, match=refused[name, window]):
                inferencer.prepare(image)
            return
        given = inferencer.prepare(image)['inputs'].numpy()[0]
    assert np.abs(given.astype(float) - expected).max() <= (name == 'a.pgm') and given.max() > 100


@pytest.mark.parametrize('mode', ['I', 'F'])
def test_pixels_without_a_range(mode):
    deep = Image.fromarray(DEEP.astype(np.int32 if mode == 'I' else np.float32))
    with pytest.raises(UserError, match=rf'Pillow cannot be read: its pixels \(mode {mode}\) have no full range'):
        pillow_pixels(deep, 3, False)
    given = opened('window').prepare(deep)['inputs'].numpy()[0]
    assert given == pytest.approx(TRANSFORMS.build(LOADERS['window'][1]).apply_window(DEEP))


@pytest.mark.parametrize(
    ('array', 'said'),
    [
        (DEEP, r'uint16 has values from \d+ to \d+'),
        (COLOURS / 255, 'float64 has values from 0 to 0'),
        (COLOURS.astype(np.float32) - 100, 'float32 has values from -100'),
        (np.where(COLOURS > 200, np.nan, COLOURS), 'float64 has values from nan to nan'),
        (COLOURS > 99, 'bool has values from 0 to 1'),
    ],
    ids=['16 bits', 'shares', 'centred', 'nan', 'mask'],
)
def test_arrays_of_other_values_than_the_files_have(tmp_path, array, said):
    np.save(tmp_path / 'array.npy', array)
    for given, name in ((array, 'an array'), (str(tmp_path / 'array.npy'), r'.*array\.npy')):
        with pytest.raises(UserError, match=f'^{name} of {said}'):
            opened('colour').prepare(given)


def test_arrays_of_the_files_values():
    for array in (COLOURS, COLOURS.astype(np.float32), COLOURS.astype(np.int32), np.zeros((9, 7))):
        given = opened('colour').prepare(array)['inputs'].numpy()
        assert np.array_equal(
            given, np.atleast_3d(array if array.ndim == 3 else np.zeros((9, 7, 3))).transpose(2, 0, 1)
        )
    deep = opened('window').prepare(DEEP)['inputs'].numpy()[0]
    assert deep == pytest.approx(TRANSFORMS.build(LOADERS['window'][1]).apply_window(DEEP))
