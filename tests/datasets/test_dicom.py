"""DICOM pixels against what the standard says of them, and against pydicom's own functions."""

import numpy as np
import pytest
from helpers import write_dicom

from mmdensenet.datasets import LoadGreyImage
from mmdensenet.errors import BadImageError, UserError

pydicom = pytest.importorskip('pydicom', reason='pydicom is not installed (the extra dicom)')
from pydicom.dataset import Dataset  # noqa: E402

TWELVE = np.linspace(0, 4095, 64).round().astype(np.uint16).reshape(8, 8)
BITS = dict(BitsStored=12, HighBit=11)


def load(window, path):
    return LoadGreyImage(window).transform(dict(img_path=path))['img']


def lut(sequence, first, values, bits=16):
    item = Dataset()
    item.LUTDescriptor = [len(values) % 65536, first, bits]
    item.LUTData = np.asarray(values, np.uint16).tobytes()
    if sequence == 'ModalityLUTSequence':
        item.ModalityLUTType = 'US'
    item['LUTData'].VR = 'OW'
    item['LUTDescriptor'].VR = 'US' if first >= 0 else 'SS'
    return {sequence: [item]}


@pytest.mark.parametrize(
    ('tags', 'expected'),
    [
        ({}, TWELVE / 4095),
        (dict(RescaleSlope=1, RescaleIntercept=0), TWELVE / 4095),
        (dict(RescaleSlope=2.5, RescaleIntercept=-1024), TWELVE / 4095),
        (dict(RescaleSlope=-1, RescaleIntercept=0), 1 - TWELVE / 4095),
        (dict(PhotometricInterpretation='MONOCHROME1'), 1 - TWELVE / 4095),
        (dict(PhotometricInterpretation='MONOCHROME1', RescaleSlope=1, RescaleIntercept=0), 1 - TWELVE / 4095),
        (lut('ModalityLUTSequence', 0, np.arange(4096)[::-1] * 3), 1 - TWELVE / 4095),
        (lut('ModalityLUTSequence', 1000, np.arange(100)), (TWELVE.astype(float) - 1000).clip(0, 99) / 99),
        (lut('ModalityLUTSequence', 0, np.arange(65536)[::-1]), 1 - TWELVE / 4095),
    ],
)
def test_the_full_range_of_12_bits(tmp_path, tags, expected):
    path = write_dicom(tmp_path / 'x.dcm', TWELVE, **{**BITS, **tags})
    assert np.allclose(load('full', path), expected * 255, atol=1e-3)


@pytest.mark.parametrize(
    ('tags', 'reason'),
    [
        (dict(BitsStored=12, HighBit=15), 'BitsStored is 12 and HighBit 15, where DICOM has 11'),
        (dict(BITS, RescaleSlope=0, RescaleIntercept=7), 'its rescale slope or Modality LUT makes 7 of every value'),
        (dict(BITS, **lut('ModalityLUTSequence', 0, [5] * 9)), 'makes 5 of every value'),
    ],
)
def test_values_that_are_lost_are_named(tmp_path, tags, reason):
    with pytest.raises(BadImageError, match=reason):
        load('full', write_dicom(tmp_path / 'x.dcm', TWELVE, **tags))


def test_other_bits_than_those_stored_are_left_out(tmp_path):
    overlay = write_dicom(tmp_path / 'x.dcm', TWELVE | np.uint16(0x1000), **BITS)
    assert np.allclose(load('full', overlay), TWELVE / 4095 * 255, atol=1e-3)


@pytest.mark.parametrize('bits', [12, 16])
def test_signed_pixels(tmp_path, bits):
    low = -(2 ** (bits - 1))
    stored = np.linspace(low, -low - 1, 64).round().astype(np.int16).reshape(8, 8)
    path = write_dicom(
        tmp_path / 'x.dcm', stored, BitsStored=bits, HighBit=bits - 1, RescaleSlope=2, RescaleIntercept=1
    )
    assert np.allclose(load('full', path), (stored - float(low)) / (2**bits - 1) * 255, atol=1e-3)
    assert np.allclose(load((-100, 100), path), ((stored * 2.0 + 101) / 200).clip(0, 1) * 255, atol=1e-3)


def test_a_table_that_begins_below_0(tmp_path):
    """The largest value of 16 bits is more than 32767 places from its beginning."""
    stored = np.array([[-32768, -500, 0, 399, 32767]], np.int16)
    path = write_dicom(tmp_path / 'x.dcm', stored, **lut('ModalityLUTSequence', -500, np.arange(900)))
    assert np.allclose(load('full', path), np.array([0, 0, 500, 899, 899]) * (255 / 899), atol=1e-3)


@pytest.mark.parametrize('function', ['LINEAR', 'LINEAR_EXACT', 'SIGMOID', None])
@pytest.mark.parametrize('inverted', [False, True])
def test_windows_are_pydicoms(tmp_path, function, inverted):
    kind = 'MONOCHROME1' if inverted else 'MONOCHROME2'
    tags = dict(RescaleSlope=1.5, RescaleIntercept=-1000, WindowCenter=[900, 5], WindowWidth=[1300, 7])
    if function:
        tags['VOILUTFunction'] = function
    path = write_dicom(tmp_path / 'x.dcm', TWELVE, PhotometricInterpretation=kind, **BITS, **tags)
    file = pydicom.dcmread(path)
    values = pydicom.pixels.apply_windowing(pydicom.pixels.apply_modality_lut(file.pixel_array, file), file)
    expected = (values + 1000) / (4095 * 1.5) * 255
    assert np.allclose(load('dicom', path), 255 - expected if inverted else expected, atol=1e-3)


def test_windows_that_are_none(tmp_path):
    one = write_dicom(tmp_path / '1.dcm', TWELVE, WindowCenter=2000, WindowWidth=1, **BITS)
    assert np.array_equal(load('dicom', one), np.where(TWELVE > 1999.5, 255, 0))
    half = dict(WindowCenter=2015, WindowWidth=0.5, VOILUTFunction='LINEAR_EXACT')
    narrow = write_dicom(tmp_path / '2.dcm', TWELVE, **half, **BITS)
    assert np.array_equal(load('dicom', narrow), np.where(TWELVE >= 2015, 255, 0) - np.where(TWELVE == 2015, 127.5, 0))
    for name, width, function in (('l', 0.75, 'LINEAR'), ('e', 0, 'LINEAR_EXACT'), ('f', 9, 'CUBIC')):
        tags = dict(WindowCenter=2000, WindowWidth=width, VOILUTFunction=function)
        path = write_dicom(tmp_path / f'{name}.dcm', TWELVE, **tags, **BITS)
        with pytest.raises(BadImageError, match=rf'{name}\.dcm .*its window of width'):
            load('dicom', path)


def test_a_voi_lut_without_a_window(tmp_path):
    values = np.linspace(65535, 0, 4096).round()
    path = write_dicom(tmp_path / 'x.dcm', TWELVE, **BITS, **lut('VOILUTSequence', 0, values))
    file = pydicom.dcmread(path)
    expected = pydicom.pixels.apply_voi_lut(file.pixel_array, file)
    assert np.allclose(load('dicom', path), expected / 65535 * 255, atol=1e-3)
    assert np.allclose(load('dicom', path), values[TWELVE] / 257, atol=1e-2)
    for bits in (8, 12):  # pydicom's own function takes 8 bits for the places in the table too
        values = np.linspace(2**bits - 1, 0, 4096).round()
        path = write_dicom(tmp_path / 'y.dcm', TWELVE, **BITS, **lut('VOILUTSequence', 0, values, bits))
        assert np.allclose(load('dicom', path), values[TWELVE] * (255 / (2**bits - 1)), atol=1e-3)
    signed = (TWELVE.astype(np.int16) - 2048) // 2
    path = write_dicom(tmp_path / 'z.dcm', signed, **BITS, **lut('VOILUTSequence', -500, np.arange(1000) % 256, 8))
    assert np.allclose(load('dicom', path), (signed + 500).clip(0, 999) % 256, atol=1e-3)


@pytest.mark.parametrize('bits, entries, first', [(16, 4096, 0), (16, 100, 1000), (8, 256, 0), (8, 100, 1000)])
def test_a_palette(tmp_path, bits, entries, first):
    """Values beyond its ends have the first or last colour."""
    white = 2**bits - 1
    table = np.linspace(white, 0, entries).round().astype('<u2' if bits == 16 else np.uint8)
    tags = dict(PhotometricInterpretation='PALETTE COLOR', **BITS)
    for colour, values in zip(('Red', 'Green', 'Blue'), (table, table // 2, table // 4)):
        tags[f'{colour}PaletteColorLookupTableDescriptor'] = [entries, first, bits]
        tags[f'{colour}PaletteColorLookupTableData'] = values.tobytes()
    luminance = 0.299 * table + 0.587 * (table // 2) + 0.114 * (table // 4)
    expected = luminance[(TWELVE.astype(int) - first).clip(0, entries - 1)] * (255 / white)
    assert np.allclose(load('full', write_dicom(tmp_path / 'x.dcm', TWELVE, **tags)), expected, atol=1e-3)
    if bits == 8:
        tags['RedPaletteColorLookupTableDescriptor'] = [257, 0, 8]
        with pytest.raises(BadImageError, match='its palette has 257 colours of 8 bits, of which 256 would be read'):
            load('full', write_dicom(tmp_path / 'y.dcm', TWELVE, **tags))


def test_colours(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    tags = dict(SamplesPerPixel=3, PlanarConfiguration=0, BitsAllocated=8, BitsStored=8, HighBit=7, Rows=4, Columns=5)
    path = write_dicom(tmp_path / 'x.dcm', pixels, PhotometricInterpretation='RGB', **tags)
    assert np.allclose(load('full', path), pixels @ np.array([0.299, 0.587, 0.114]), atol=1e-3)
    odd = write_dicom(tmp_path / 'h.dcm', pixels, PhotometricInterpretation='HSV', **tags)
    with pytest.raises(BadImageError, match=r'h\.dcm .*of HSV'):
        load('full', odd)


def test_frames(tmp_path):
    one = write_dicom(tmp_path / '1.dcm', TWELVE, NumberOfFrames=1, **BITS)
    assert np.allclose(load('full', one), TWELVE / 4095 * 255, atol=1e-3)
    many = write_dicom(tmp_path / '2.dcm', np.stack([TWELVE] * 2), NumberOfFrames=2, **BITS)
    with pytest.raises(BadImageError, match=r'2\.dcm .*it holds 2 frames'):
        load('full', many)


def test_a_file_without_the_preamble(tmp_path):
    whole = write_dicom(tmp_path / 'x.dcm', TWELVE, **BITS)
    bare = tmp_path / 'y.dcm'
    bare.write_bytes((tmp_path / 'x.dcm').read_bytes()[132:])
    assert np.array_equal(load('full', str(bare)), load('full', whole))


@pytest.mark.parametrize('name', ['RLELossless', 'JPEGLSLossless', 'JPEG2000Lossless'])
def test_compressed_without_loss(tmp_path, name):
    from pydicom import uid

    path = write_dicom(tmp_path / 'x.dcm', TWELVE, **BITS)
    file = pydicom.dcmread(path)
    try:
        file.compress(getattr(uid, name))
    except (RuntimeError, ValueError) as error:
        pytest.skip(f'no encoder: {error}')
    file.save_as(tmp_path / 'c.dcm')
    assert np.array_equal(load('full', str(tmp_path / 'c.dcm')), load('full', path))


def test_a_decoder_that_is_missing(tmp_path, monkeypatch):
    path = write_dicom(tmp_path / 'x.dcm', TWELVE, **BITS)
    file = pydicom.dcmread(path)
    file.file_meta.TransferSyntaxUID = pydicom.uid.JPEGLossless
    file.PixelData = pydicom.encaps.encapsulate([b'no matter'])
    file['PixelData'].VR = 'OB'
    file.save_as(tmp_path / 'c.dcm')
    monkeypatch.setattr(pydicom.pixels.decoders.base.Decoder, 'is_available', False)
    with pytest.raises(UserError, match=r'c\.dcm is compressed as JPEG Lossless.*pip install .*python-gdcm'):
        load('full', str(tmp_path / 'c.dcm'))


def compressed(tmp_path, name, pixels, bits):
    """A file as gdcm compresses it."""
    gdcm = pytest.importorskip('gdcm', reason='python-gdcm is not installed (the extra dicom)')
    tags = dict(BitsStored=bits, HighBit=bits - 1, BitsAllocated=8 if bits == 8 else 16)
    path = write_dicom(tmp_path / 'x.dcm', pixels, **tags)
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(path)
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, name)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetImage(change.GetOutput())
    writer.SetFile(reader.GetFile())
    writer.SetFileName(str(tmp_path / 'c.dcm'))
    assert writer.Write()
    return path, str(tmp_path / 'c.dcm')


@pytest.mark.parametrize(
    ('name', 'plugins'),
    [
        ('JPEGLosslessProcess14', {'gdcm'}),
        ('JPEGLosslessProcess14_1', {'gdcm'}),
        ('JPEGLSLossless', {'gdcm', 'pyjpegls'}),
        ('JPEG2000Lossless', {'gdcm', 'pylibjpeg'}),
        ('RLELossless', {'pydicom', 'pylibjpeg'}),
    ],
)
def test_every_permissive_decoder_gives_the_same(tmp_path, name, plugins):
    """Files that gdcm compressed, by each plugin that is there, and by the loader."""
    path, small = compressed(tmp_path, name, TWELVE, 12)
    file = pydicom.dcmread(small)
    assert file.file_meta.TransferSyntaxUID.is_compressed
    there = set(pydicom.pixels.get_decoder(file.file_meta.TransferSyntaxUID).available_plugins)
    assert there & plugins, 'the extra dicom brings one'
    for plugin in there:
        assert np.array_equal(pydicom.pixels.pixel_array(file, decoding_plugin=plugin), TWELVE), plugin
    assert np.array_equal(load('full', small), load('full', path))


def test_jpeg_with_loss(tmp_path):
    smooth = np.linspace(0, 255, 32 * 32).round().astype(np.uint8).reshape(32, 32)
    path, small = compressed(tmp_path, 'JPEGBaselineProcess1', smooth, 8)
    assert np.abs(load('full', small) - load('full', path)).max() < 6
