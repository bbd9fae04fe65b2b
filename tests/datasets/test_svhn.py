import numpy as np
import pytest
from mmpretrain.registry import DATASETS
from scipy.io import savemat

from mmdensenet.datasets import SVHN
from mmdensenet.errors import UserError


@pytest.fixture
def folder(tmp_path):
    """Three files of SVHN's form: X (32, 32, 3, N) and y (N, 1) with 1 to 10."""
    rng = np.random.default_rng(0)
    for name, count in (('train', 12), ('extra', 7), ('test', 5)):
        images = rng.integers(0, 256, (32, 32, 3, count), dtype=np.uint8)
        savemat(tmp_path / f'{name}_32x32.mat', dict(X=images, y=np.arange(count)[:, None] % 10 + 1))
    return tmp_path


def test_samples(folder):
    from scipy.io import loadmat

    pipeline = [dict(type='PackInputs')]
    dataset = DATASETS.build(dict(type='mmdensenet.SVHN', data_root=str(folder), split='train', pipeline=pipeline))
    assert len(dataset) == 12
    assert dataset.get_gt_labels().tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2], 'the files write 10 for 0'
    info = dataset.get_data_info(0)
    assert info['img_shape'] == info['ori_shape'] == info['img'].shape[:2]
    images = loadmat(folder / 'train_32x32.mat')['X']
    for i in (0, 11):
        assert (dataset[i]['inputs'].numpy() == images[..., i].transpose(2, 0, 1)).all()


def test_train_and_extra_are_joined(folder):
    both, extra = SVHN(str(folder), 'train+extra'), SVHN(str(folder), 'extra')
    assert len(both) == 19
    assert (both.get_data_info(12)['img'] == extra.get_data_info(0)['img']).all()
    assert both.get_data_info(12)['gt_label'] == extra.get_data_info(0)['gt_label'] == 1
    assert not both.test_mode and SVHN(str(folder), 'test').test_mode


def test_a_transform_cannot_change_the_data(folder):
    dataset = SVHN(str(folder), 'test')
    before = dataset.get_data_info(0)['img'].copy()
    dataset.get_data_info(0)['img'][:] = 0
    assert (dataset.get_data_info(0)['img'] == before).all()


def test_indices(folder):
    dataset = SVHN(str(folder), 'train', indices=[3, 5])
    assert dataset.get_gt_labels().tolist() == [4, 6]


def test_mistakes_are_named(folder):
    with pytest.raises(UserError, match="choose 'train'"):
        SVHN(str(folder), 'val')
    (folder / 'extra_32x32.mat').unlink()
    with pytest.raises(UserError, match=r'extra_32x32\.mat does not exist\. Get .*housenumbers'):
        SVHN(str(folder), 'train+extra')
    (folder / 'test_32x32.mat').write_bytes(b'no mat file')
    with pytest.raises(UserError, match=r'test_32x32\.mat is damaged'):
        SVHN(str(folder), 'test')
    savemat(folder / 'test_32x32.mat', dict(X=np.zeros((32, 32, 3, 4)), y=np.ones((3, 1))))
    with pytest.raises(UserError, match=r'not of SVHN \(X is'):
        SVHN(str(folder), 'test')
