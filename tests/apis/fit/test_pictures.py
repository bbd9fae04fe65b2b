"""Properties of one image, and which images are read again."""

import os

import numpy as np
import pytest
from helpers import write_dicom
from own_images import write

from mmdensenet.apis.fit.pictures import READER, read_grey, read_picture, read_pictures
from mmdensenet.datasets.near_duplicates import perceptual_hash
from mmdensenet.errors import BadImageError


def test_moments_depth_and_colour(tmp_path):
    grey = np.random.default_rng(0).integers(0, 4096, (20, 24)).astype(np.uint16)
    write(tmp_path / 'deep.png', grey)
    found = read_picture(str(tmp_path), 'deep.png')
    assert (found['kind'], found['grey'], found['size']) == ('16', True, [20, 24])
    assert found['brightest'] == grey.max()
    np.testing.assert_allclose(found['mean'], 3 * [(grey / 257).mean()], rtol=1e-5)
    np.testing.assert_allclose(found['square'], 3 * [((grey / 257) ** 2).mean()], rtol=1e-5)
    colour = np.random.default_rng(1).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    write(tmp_path / 'colour.png', colour)
    found = read_picture(str(tmp_path), 'colour.png')
    assert not found['grey']
    np.testing.assert_allclose(found['mean'], colour[..., ::-1].mean((0, 1)), rtol=1e-5)
    write(tmp_path / 'as_colour.jpg', np.stack([colour[..., 0]] * 3, -1))
    assert read_picture(str(tmp_path), 'as_colour.jpg')['grey'], 'three equal channels are grey'


@pytest.mark.parametrize(('depth', 'unit'), [(np.uint8, 1), (np.uint16, 257)])
@pytest.mark.parametrize('channel', range(3))
def test_one_channel_that_differs_makes_colour(tmp_path, channel, depth, unit):
    image = np.full((8, 8, 3), 100 * unit, depth)
    for difference, grey in ((12, True), (13, False)):  # as much as JPEG's rounding, and more
        image[3, 4, channel] = (100 + difference) * unit
        write(tmp_path / 'x.png', image)
        assert read_picture(str(tmp_path), 'x.png')['grey'] == grey


def test_dicom(tmp_path):
    pixels = np.arange(64, dtype=np.uint16).reshape(8, 8) * 65
    bits = dict(BitsStored=12, HighBit=11)
    write_dicom(tmp_path / 'plain.dcm', pixels, **bits)
    found = read_picture(str(tmp_path), 'plain.dcm')
    full = pixels / 4095 * 255
    assert (found['kind'], found['grey'], found['size'], found['brightest']) == ('dicom', True, [8, 8], 63 * 65)
    np.testing.assert_allclose(found['mean'], 3 * [full.mean()], rtol=1e-5)
    np.testing.assert_allclose(found['square'], 3 * [(full**2).mean()], rtol=1e-5)
    assert (found['windowed'], found['modality'], found['patient']) == (None, '', '')

    states = dict(Modality='DX', PatientID='Erika', WindowCenter=2000.5, WindowWidth=1001)
    write_dicom(tmp_path / 'without_its_ending', pixels, **bits, **states)
    found = read_picture(str(tmp_path), 'without_its_ending')
    shown = ((pixels.astype(float) - 1500) / 1000).clip(0, 1) * 255  # PS3.3, C.11.2.1.2.1
    np.testing.assert_allclose(found['windowed'], [shown.mean(), (shown**2).mean()], rtol=1e-5)
    np.testing.assert_allclose(found['mean'], 3 * [full.mean()], rtol=1e-5)
    assert (found['kind'], found['modality']) == ('dicom', 'DX')
    assert len(found['patient']) == 16 and 'Erika' not in str(found)
    np.testing.assert_allclose(read_grey(str(tmp_path), 'without_its_ending'), full, atol=1e-3)
    assert perceptual_hash(read_grey(str(tmp_path), 'without_its_ending')) == found['hash']


def test_the_last_line_of_a_run_that_was_killed(tmp_path):
    for name in 'abc':
        write(tmp_path / f'{name}.png', np.random.default_rng(ord(name)).integers(0, 256, (8, 8), dtype=np.uint8))
    files, cache, seen = ['a.png', 'b.png', 'c.png'], tmp_path / 'cache.jsonl', []
    read = read_pictures(str(tmp_path), files, cache, lambda *done: seen.append(done), workers=0)
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert [one['file'] for one in read] == files
    cache.write_bytes(cache.read_bytes()[:-20])
    seen.clear()
    assert read_pictures(str(tmp_path), files, cache, lambda *done: seen.append(done), workers=0) == read
    assert seen == [(3, 3)], 'the third only'
    seen.clear()
    assert read_pictures(str(tmp_path), files[::-1], cache, lambda *done: seen.append(done), workers=0) == read[::-1]
    assert not seen


def test_files_that_change_places_are_read_again(tmp_path):
    """Unpacked archives give equal times, and files of one kind equal sizes."""
    for name, value in (('a.bmp', 10), ('b.bmp', 200)):
        write(tmp_path / name, np.full((8, 8), value, np.uint8))
        os.utime(tmp_path / name, (1e9, 1e9))
    assert (tmp_path / 'a.bmp').stat().st_size == (tmp_path / 'b.bmp').stat().st_size
    files, cache = ['a.bmp', 'b.bmp'], tmp_path / 'cache.jsonl'
    first = read_pictures(str(tmp_path), files, cache, lambda *done: None, workers=0)
    (tmp_path / 'a.bmp').rename(tmp_path / 'c.bmp')
    (tmp_path / 'b.bmp').rename(tmp_path / 'a.bmp')
    (tmp_path / 'c.bmp').rename(tmp_path / 'b.bmp')
    again = read_pictures(str(tmp_path), files, cache, lambda *done: None, workers=0)
    assert [one['digest'] for one in again] == [one['digest'] for one in first][::-1]


def test_what_could_not_be_read_and_what_another_version_has_read_is_read_again(tmp_path, monkeypatch):
    def refuse(path):
        raise BadImageError.of(path, 'permission denied')

    write(tmp_path / 'a.png', np.full((8, 8), 10, np.uint8))
    files, cache = ['a.png'], tmp_path / 'cache.jsonl'
    with monkeypatch.context() as patched:
        patched.setattr('mmdensenet.apis.fit.pictures.read_bytes', refuse)
        (bad,) = read_pictures(str(tmp_path), files, cache, lambda *done: None, workers=0)
    assert bad['reason'] == 'permission denied'
    (good,) = read_pictures(str(tmp_path), files, cache, lambda *done: None, workers=0)
    assert good['mean'] == [10.0] * 3
    cache.write_text(cache.read_text().replace(f'"reader": {READER}', f'"reader": {READER - 1}').replace('10.0', '9.0'))
    assert read_pictures(str(tmp_path), files, cache, lambda *done: None, workers=0) == [good]
