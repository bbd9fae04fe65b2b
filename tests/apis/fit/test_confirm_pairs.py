import cv2
import numpy as np
import pytest
import torch
from own_images import picture, write

from mmdensenet.apis.fit.class_folders import read_class_folders
from mmdensenet.apis.fit.confirm_pairs import confirm_pairs
from mmdensenet.apis.fit.look import look
from mmdensenet.apis.fit.network import choose_network
from mmdensenet.apis.fit.work_folder import WorkFolder
from mmdensenet.errors import UserError
from mmdensenet.models import DenseNet

ARCH = dict(growth_rate=8, depths=(2, 2), init_channels=16)


@pytest.fixture
def weights(tmp_path):
    """A file of random weights, whose features tell more than hashes do."""
    torch.manual_seed(0)
    network = DenseNet(arch=ARCH, stem='cifar')
    file = tmp_path / 'weights.pth'
    torch.save({f'backbone.{key}': value for key, value in network.state_dict().items()}, file)
    return str(file)


def turned(image, degrees):
    height, width = image.shape
    return cv2.warpAffine(
        image, cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1), (width, height), borderMode=2
    )


def test_copies_are_confirmed_and_different_images_of_a_class_are_not(weights):
    rng = np.random.default_rng(0)
    images = [picture(rng, ['disc'], 48) for _ in range(60)]
    saved = cv2.imdecode(cv2.imencode('.jpg', images[3], [cv2.IMWRITE_JPEG_QUALITY, 60])[1], 0)
    brighter = (images[5] * 1.2 + 8).clip(0, 255).astype(np.uint8)
    copies = [
        (3, saved),
        (5, brighter),
        (7, turned(images[7], 1)),
        (9, cv2.resize(images[9], (30, 30), interpolation=cv2.INTER_AREA)),
    ]
    pairs = [(place, 60 + i) for i, (place, _) in enumerate(copies)] + [(i, i + 1) for i in range(10, 40)]
    images += [image for _, image in copies]
    read = []
    kept, limit = confirm_pairs(
        np.array(pairs), np.arange(60), lambda i: read.append(i) or images[i], choose_network(48, weights)
    )
    assert kept.tolist() == [True] * 4 + [False] * 30
    assert limit.different < limit.cosine < limit.copies
    assert len(read) == 40 + 39, 'forty to measure by, and those of the pairs'


def faint(rng, side=64):
    """As in radiographs, all are similar at a low resolution."""
    base = cv2.resize(np.random.default_rng(9).uniform(-1, 1, (8, 8)), (side, side), interpolation=cv2.INTER_CUBIC)
    return (128 + 60 * base + rng.normal(0, 9, (side, side))).clip(0, 255).astype(np.uint8)


def test_images_that_look_alike_from_afar_are_told_apart(tmp_path, weights):
    rng = np.random.default_rng(1)
    for name in 'ab':
        for i in range(12):
            write(tmp_path / 'data' / name / f'{i:02d}.png', faint(rng))
    image = cv2.imread(str(tmp_path / 'data/a/03.png'), 0)
    write(tmp_path / 'data/a/copy.png', (image * 0.9 + 10).astype(np.uint8))
    (tmp_path / 'data/a/same.png').write_bytes(
        (tmp_path / 'data/a/05.png').read_bytes()
    )  # which is not a different one
    samples = read_class_folders(str(tmp_path / 'data'))
    by_thumbnails = look(samples, [], WorkFolder(tmp_path / 'w'), lambda *_: None).result
    assert len(by_thumbnails['near_duplicates']) > 1, 'thumbnails do not tell them apart'
    work = WorkFolder(tmp_path / 'work')
    found = look(samples, [], work, lambda *_: None, weights).result
    assert found['near_duplicates'] == [['a/03.png', 'a/copy.png']]
    assert 'by features of DenseNet' in found['confirmed'] and 'other pairs stay below' in found['confirmed']
    written = (work / 'near_duplicates.json').stat().st_mtime_ns
    assert look(samples, [], work, lambda *_: None, weights).result == found
    assert (work / 'near_duplicates.json').stat().st_mtime_ns == written, 'it is not computed again'


def test_a_network_that_does_not_tell_images_apart_is_not_believed(tmp_path, weights):
    tensors = torch.load(weights)
    torch.save({key: torch.zeros_like(value) for key, value in tensors.items()}, weights)
    rng = np.random.default_rng(2)
    for i in range(16):
        write(tmp_path / 'data' / 'ab'[i % 2] / f'{i}.png', picture(rng, ['disc'], 48))
    image = cv2.imread(str(tmp_path / 'data/a/2.png'), 0)
    write(tmp_path / 'data/b/copy.jpg', image)
    found = look(read_class_folders(str(tmp_path / 'data')), [], WorkFolder(tmp_path / 'w'), print, weights).result
    assert found['near_duplicates'] == [['a/2.png', 'b/copy.jpg']]
    assert 'do not tell copies (0.00) from different images (0.00)' in found['confirmed']


def test_weights_that_cannot_be_had_end_the_first_step(tmp_path, monkeypatch):
    def none(path):
        raise OSError('no route to host')

    monkeypatch.setattr('mmdensenet.apis.fit.network.read_checkpoint', none)
    for i in range(4):
        write(tmp_path / 'data' / 'ab'[i % 2] / f'{i}.png', picture(np.random.default_rng(i), ['disc'], 128))
    with pytest.raises(UserError, match=r'ImageNet weights cannot be had .no route to host.*weights=none'):
        look(read_class_folders(str(tmp_path / 'data')), [], WorkFolder(tmp_path / 'w'), lambda *_: None, None)
