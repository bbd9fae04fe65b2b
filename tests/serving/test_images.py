"""What is refused before it is decoded."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from serving_helpers import picture

from mmdensenet.serving.images import RefusedRequestError, check_image


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'WEBP', 'BMP', 'TIFF', 'GIF'])
def test_formats_that_are_read(kind, predictor):
    content = picture(size=(70, 50), kind=kind)
    assert check_image(content, 3500) == (70, 50)
    with pytest.raises(RefusedRequestError, match='70 x 50 pixels; the limit is 3,499'):
        check_image(content, 3499)
    assert predictor.prepare(content)[1]['inputs'].shape == (3, 64, 64)


def test_a_photograph_held_upright(predictor):
    """Cameras turn no pixels: they note that the image is to be turned. People see its width and height after that."""
    target, turned = io.BytesIO(), Image.Exif()
    turned[0x112] = 6
    Image.new('RGB', (90, 70)).save(target, 'JPEG', exif=turned)
    assert predictor.prepare(target.getvalue())[0] == (70, 90)


def png_of(width: int, height: int) -> bytes:
    """A file of some bytes that claims a size."""
    header = b'IHDR' + struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    return b'\x89PNG\r\n\x1a\n' + struct.pack('>I', 13) + header + struct.pack('>I', zlib.crc32(header))


@pytest.mark.parametrize(
    'content, status',
    [
        (b'', 400),
        (b'hello', 415),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', 415),
        (b'#?RADIANCE\n', 415),
        (b'\0\0\0\x0cjP  \r\n\x87\n', 415),  # JPEG 2000, of which the two headers may differ
        (b'\0' * 128 + b'DICM', 415),
        (b'\xff\xd8\xff', 422),
        (b'BM' + b'\0' * 60, 422),
        (b'II*\0' + b'\xff' * 60, 422),
        (png_of(0, 5), 422),
        (png_of(60_000, 60_000), 413),
        (png_of(2**32 - 1, 2**32 - 1), 413),
    ],
)
def test_what_is_no_image_or_too_large(content, status):
    with pytest.raises(RefusedRequestError) as caught:
        check_image(content, 1_000_000)
    assert caught.value.status == status
    assert caught.value.message.endswith('.')


def test_the_scans_of_a_jpeg_count():
    """A scan of some bytes costs a pass over the whole image."""
    target = io.BytesIO()
    Image.new('L', (64, 64)).save(target, 'JPEG', progressive=True)
    content = target.getvalue()
    last = content[content.rindex(b'\xff\xda') : -2]
    assert check_image(content, 5000) == (64, 64)
    assert check_image(content + content * 9, 5000) == (64, 64)  # cameras append previews
    comment = b'\xff\xfe\x00\x04\xff\xd9'  # with an end marker that is none
    for between in (b'', comment):
        with pytest.raises(RefusedRequestError, match=r'2\d\d scans; the limit is 100') as caught:
            check_image(content[:-2] + between + last * 200 + content[-2:], 5000)
        assert caught.value.status == 413


def test_the_tiles_of_a_tiff_count():
    """A decoder makes room for a whole tile, whatever the image's size."""
    values = {256: 16, 257: 16, 258: 8, 259: 1, 262: 1, 277: 1, 322: 40_000, 323: 30_000, 324: 8, 325: 100}
    entries = b''.join(struct.pack('<HHII', tag, 4, 1, value) for tag, value in values.items())
    content = b'II*\0' + struct.pack('<I', 108) + bytes(100) + struct.pack('<H', len(values)) + entries + bytes(4)
    with pytest.raises(RefusedRequestError, match='40000 x 30000'):
        check_image(content, 1_000_000)


def test_dicom_where_the_model_reads_it():
    pydicom = pytest.importorskip('pydicom', reason='DICOM needs pydicom')
    file = pydicom.Dataset()
    file.Rows, file.Columns, file.NumberOfFrames = 300, 200, 10
    file.SOPClassUID, file.SOPInstanceUID = '1.2.840.10008.5.1.4.1.1.7', '1.2.3'
    file.file_meta = pydicom.dataset.FileMetaDataset()
    file.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    target = io.BytesIO()
    pydicom.dcmwrite(target, file, enforce_file_format=True)
    content = target.getvalue()
    assert check_image(content, 600_000, dicom=True) == (2000, 300)
    with pytest.raises(RefusedRequestError, match='the limit is 599,999'):
        check_image(content, 599_999, dicom=True)
    with pytest.raises(RefusedRequestError) as caught:
        check_image(content[:140], 600_000, dicom=True)
    assert caught.value.status == 422


def chunk(kind: bytes, data: bytes, length: int | None = None) -> bytes:
    told = len(data) if length is None else length
    return struct.pack('>I', told) + kind + data + struct.pack('>I', zlib.crc32(kind + data))


def test_the_chunks_of_a_png_are_looked_at():
    """OpenCV makes room for a chunk's stated length first."""
    whole = picture(kind='PNG')
    header, rest = whole[:33], whole[33:]
    assert check_image(whole, 10_000) == (90, 80)
    moving = chunk(b'fcTL', struct.pack('>IIIIIHHBB', 0, 90, 80, 0, 0, 1, 1, 0, 0))
    assert check_image(header + moving + rest, 10_000) == (90, 80)
    too_wide = chunk(b'fcTL', struct.pack('>IIIIIHHBB', 0, 60_000, 80, 0, 0, 1, 1, 0, 0))
    promises = chunk(b'tEXt', b'a\0b', length=0x7FFF_FFF0)
    for damaged in (header + too_wide + rest, header + promises + rest, whole[:-1], header + header[8:] + rest):
        with pytest.raises(RefusedRequestError) as caught:
            check_image(damaged, 10_000)
        assert caught.value.status == 422


def test_mutated_files_are_read_or_refused(predictor):
    """Nothing else happens; the seed makes it the same each time."""
    rng = np.random.default_rng(0)
    seeds = [picture(i, kind=kind) for i, kind in enumerate(('JPEG', 'PNG', 'GIF', 'BMP', 'TIFF', 'WEBP'))]
    statuses = set()
    for i in range(600):
        content = bytearray(seeds[i % len(seeds)])
        for position in rng.integers(0, min(len(content), 300), rng.integers(1, 4)):
            content[position] = rng.integers(256)
        try:
            predictor.prepare(bytes(content[: rng.integers(len(content))] if i % 3 == 0 else content))
            statuses.add(200)
        except RefusedRequestError as error:
            statuses.add(error.status)
    assert statuses <= {200, 400, 413, 415, 422} and {200, 422} <= statuses
