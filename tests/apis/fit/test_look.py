import sys

import cv2
import numpy as np
import pytest
from helpers import write_dicom
from own_images import class_folders, picture, write
from PIL import Image

from mmdensenet.apis.fit.class_folders import read_class_folders
from mmdensenet.apis.fit.look import look
from mmdensenet.apis.fit.pictures import read_picture, read_pictures
from mmdensenet.apis.fit.work_folder import WorkFolder
from mmdensenet.datasets import LoadGreyImage
from mmdensenet.errors import UserError


def quiet(done, total):
    pass


@pytest.fixture
def root(tmp_path):
    root = class_folders(tmp_path / 'data', 12, ('disc', 'square'), side=48)
    (root / 'disc/copy.png').write_bytes((root / 'disc/003.png').read_bytes())
    (root / 'square/copy.png').write_bytes((root / 'disc/004.png').read_bytes())  # with another label
    image = cv2.imread(str(root / 'disc/005.png'), 0)
    cv2.imwrite(str(root / 'disc/again.jpg'), image, [cv2.IMWRITE_JPEG_QUALITY, 70])
    (root / 'disc/empty.png').write_bytes(b'')
    (root / 'disc/text.jpg').write_text('no image')
    (root / 'square/cut.png').write_bytes((root / 'square/001.png').read_bytes()[:200])
    return root


def test_every_planted_fault_is_found(root, tmp_path):
    seen = look(read_class_folders(str(root)), [], WorkFolder(tmp_path / 'work'), quiet)
    found = seen.result
    assert [each['image'] for each in found['unreadable']] == ['disc/empty.png', 'disc/text.jpg', 'square/cut.png']
    assert found['unreadable'][0]['reason'] == 'the file is empty'
    assert found['exact_duplicates'] == [['disc/003.png', 'disc/copy.png'], ['disc/004.png', 'square/copy.png']]
    assert found['near_duplicates'] == [['disc/005.png', 'disc/again.jpg']]
    assert found['conflicts'] == [['disc/004.png', 'square/copy.png']]
    assert found['images'] == len(seen.samples) == 27
    assert len(set(seen.alike.tolist())) == 24
    text = '\n'.join(seen.lines())
    assert '3 images cannot be read and are left out: disc/empty.png (the file is empty)' in text
    assert 'grey of 8 bits; all 48x48' in text


def test_animated_images_are_said_and_groups_are_those_of_what_can_be_read(root, tmp_path):
    frames = [Image.fromarray(np.full((48, 48), value, np.uint8)) for value in (0, 99)]
    frames[0].save(root / 'disc/b.png', save_all=True, append_images=frames[1:])
    frames[0].save(root / 'disc/b.webp', save_all=True, append_images=frames[1:], lossless=True)
    frames[1].save(root / 'disc/still.webp', lossless=True)
    samples = read_class_folders(str(root))
    samples.groups = [file.removesuffix('png') for file in samples.files]
    seen = look(samples, [], WorkFolder(tmp_path / 'work'), quiet)
    text = '\n'.join(seen.lines())
    assert '2 images are animated, and only the first frame is read: disc/b.png, disc/b.webp' in text
    assert f'groups with an image that can be read: {len(seen.samples)}' in text
    assert seen.result['unreadable'] and 'animated' not in '\n'.join(
        look(samples.take(range(3)), [], WorkFolder(tmp_path / 'w'), quiet).lines()
    )


def test_what_is_read_is_not_read_again_until_it_changes(root, tmp_path, monkeypatch):
    files = ['disc/001.png', 'disc/002.png']
    cache = tmp_path / 'pictures.jsonl'
    first = read_pictures(str(root), files, cache, quiet)
    with cache.open('a') as out:
        out.write('{"file": "disc/00')  # killed while it wrote
    read = []
    monkeypatch.setattr(
        'mmdensenet.apis.fit.pictures.read_picture', lambda root, file: read.append(file) or read_picture(root, file)
    )
    assert read_pictures(str(root), files, cache, quiet) == first
    assert read == []
    write(root / 'disc/002.png', picture(np.random.default_rng(5), ['disc'], 40))
    again = read_pictures(str(root), [*files, 'disc/003.png'], cache, quiet)
    assert read == ['disc/002.png', 'disc/003.png']
    assert again[1]['size'] == [40, 40]
    assert read_pictures(str(root), files, cache, quiet) == again[:2]
    assert len(read) == 2


def test_nothing_to_read_is_an_error(tmp_path):
    for name in ('a', 'b'):
        (tmp_path / 'data' / name).mkdir(parents=True)
        (tmp_path / 'data' / name / '1.png').write_bytes(b'')
    with pytest.raises(UserError, match=r'no image of .* can be read, the first is a/1.png: the file is empty'):
        look(read_class_folders(str(tmp_path / 'data')), [], WorkFolder(tmp_path / 'work'), quiet)


def test_dicom_facts_and_patients_without_their_names(tmp_path, monkeypatch):
    pytest.importorskip('pydicom', reason='pydicom is not installed (the extra dicom)')
    rng = np.random.default_rng(0)
    for i in range(8):
        (tmp_path / 'data' / 'ab'[i % 2]).mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 4096, (16, 16)).astype(np.uint16)
        tags = dict(BitsStored=12, HighBit=11, WindowCenter=2048, WindowWidth=2048, Modality='DX')
        file = tmp_path / 'data' / 'ab'[i % 2] / f'{i}.dcm'
        write_dicom(file, pixels, PatientID=f'Smith^{i // 2}', PatientName='Smith', **tags)
    seen = look(read_class_folders(str(tmp_path / 'data')), [], WorkFolder(tmp_path / 'work'), quiet)
    assert len(set(seen.samples.groups)) == 4, 'by PatientID'
    assert 'Smith' not in (tmp_path / 'work/pictures.jsonl').read_text()
    assert any('4 patients by PatientID' in line for line in seen.lines())
    assert any('DICOM DX; all 16x16' in line for line in seen.lines())
    last = LoadGreyImage('dicom').transform(dict(img_path=str(file)))['img']
    np.testing.assert_allclose(
        seen.pictures[-1]['windowed'], [last.mean(), (last.astype(float) ** 2).mean()], rtol=1e-5
    )
    last = LoadGreyImage('full').transform(dict(img_path=str(file)))['img']
    np.testing.assert_allclose(seen.pictures[-1]['mean'][0], last.mean(), rtol=1e-5)
    write_dicom(file, pixels, PatientID='', **tags)
    seen = look(read_class_folders(str(tmp_path / 'data')), [], WorkFolder(tmp_path / 'work'), quiet)
    assert len(set(seen.samples.groups)) == 5, 'the one without a patient is alone, and the others stay together'
    assert '1 images have no PatientID and are taken each for itself' in seen.samples.facts
    monkeypatch.setitem(sys.modules, 'pydicom', None)
    with pytest.raises(UserError, match=r'is DICOM, which needs pydicom\. Run: pip install pydicom'):
        look(read_class_folders(str(tmp_path / 'data')), [], WorkFolder(tmp_path / 'other'), quiet)
