"""mmdensenet.analysis.augmentation: the pictures are what the model gets."""

import random

import numpy as np
import pytest
import torch
from conftest import write_images
from mmengine.config import Config
from PIL import Image

from mmdensenet.analysis.augmentation import _label, augmentation_figure, augmented_images
from mmdensenet.errors import UserError

RGB = dict(num_classes=3, mean=[100.0, 110.0, 120.0], std=[50.0, 60.0, 70.0], to_rgb=True)
READ, PACK = dict(type='LoadImageFromFile'), dict(type='PackInputs')


@pytest.fixture
def config(tmp_path):
    write_images(tmp_path / 'train', classes=3, per_class=2, size=12)

    def make(*steps, preprocessor=RGB, model=(), **dataset):
        base = dict(type='CustomDataset', data_root=str(tmp_path), data_prefix='train', pipeline=[READ, *steps, PACK])
        base['serialize_data'] = False  # which collects garbage, for most of a second
        return Config(
            dict(
                model=dict(model),
                data_preprocessor=preprocessor,
                train_dataloader=dict(batch_size=2, dataset={**base, **dataset}),
            )
        )

    return make


def read(folder, index):
    return np.asarray(Image.open(folder / f'train/class_{index // 2}/{index % 2}.jpg'))


@pytest.mark.parametrize('to_rgb', [True, False])
def test_without_augmentation_it_is_the_file(config, tmp_path, to_rgb):
    rows = augmented_images(config(preprocessor={**RGB, 'to_rgb': to_rgb}), [0, 3], draws=2)
    assert [row.index for row in rows] == [0, 3]
    assert rows[1].labels == ['class_1'] * 3
    for row in rows:
        for picture in (row.original, *row.draws):
            assert picture.dtype == np.uint8
            # another JPEG decoder may differ by a little
            assert np.abs(picture.astype(int) - read(tmp_path, row.index)).max() <= 3


def test_each_draw_is_one_of_the_pipeline(config):
    cfg = config(dict(type='RandomFlip', prob=0.5), dict(type='Resize', scale=(24, 18)))
    [row] = augmented_images(cfg, [2], draws=8)
    assert row.original.shape == (12, 12, 3)
    assert {picture.shape for picture in row.draws} == {(18, 24, 3)}
    kinds = {picture.tobytes() for picture in row.draws}
    assert len(kinds) == 2
    assert kinds == {row.draws[0].tobytes(), np.ascontiguousarray(row.draws[0][:, ::-1]).tobytes()}


def test_the_seed_decides_and_global_state_stays(config):
    cfg = config(dict(type='RandomCrop', crop_size=12, padding=4))
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    expected = random.random(), np.random.rand(), torch.rand(1).item()
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    first, again = [augmented_images(cfg, images=3, seed=1) for _ in range(2)]
    other = augmented_images(cfg, images=3, seed=2)
    assert (random.random(), np.random.rand(), torch.rand(1).item()) == expected
    assert all((a == b).all() for x, y in zip(first, again) for a, b in zip(x.draws, y.draws))
    assert [row.index for row in first] != [row.index for row in other] or any(
        (a != b).any() for x, y in zip(first, other) for a, b in zip(x.draws, y.draws)
    )


def test_mixup_mixes_pictures_and_labels(config, tmp_path):
    cfg = config(model=dict(train_cfg=dict(augments=dict(type='Mixup', alpha=1.0))))
    rows = augmented_images(cfg, [0, 2, 4], draws=4)
    files = {f'class_{i}': read(tmp_path, 2 * i).astype(float) for i in range(3)}
    mixed = 0
    for row in rows:
        assert row.labels[0] in files
        for picture, label in zip(row.draws, row.labels[1:]):
            shares = [part.split(' ') for part in label.split(' + ')] if '+' in label else [['1', label]]
            mixed += len(shares) > 1
            expected = sum(float(share) * files[name] for share, name in shares)
            assert np.abs(picture - expected).max() <= 6  # shares have two digits
    assert mixed >= 3


def test_labels():
    from mmpretrain.structures import DataSample

    for sample, expected in [
        (DataSample().set_gt_label([1]), 'b'),
        (DataSample().set_gt_label([0, 2]), 'a, c'),
        (DataSample().set_gt_label([1]).set_gt_score(torch.tensor([0.0, 1.0, 0.0])), 'b'),
        (DataSample().set_gt_score(torch.tensor([1.0, -1.0, 1.0])), 'a, c'),
        (DataSample().set_gt_score(torch.tensor([0.0, -1.0, 0.0])), 'no label'),
        (DataSample().set_gt_score(torch.tensor([0.25, 0.0, 1.0])), '1.00 c + 0.25 a'),
        (DataSample(), ''),
    ]:
        assert _label(sample, ['a', 'b', 'c']) == expected


def test_grey_and_wrapped(config):
    grey = dict(num_classes=3, mean=[100.0], std=[50.0])
    cfg = config(preprocessor=grey)
    inner = cfg.train_dataloader.dataset
    inner.pipeline[0]['color_type'] = 'grayscale'
    cfg.train_dataloader.dataset = dict(type='RepeatDataset', times=2, dataset=inner)
    rows = augmented_images(cfg, [7], draws=1)
    assert rows[0].labels[0] == 'class_0'  # the second round
    picture = rows[0].draws[0]
    assert picture.shape == (12, 12, 3)
    assert (picture == picture[..., :1]).all()
    assert (picture == rows[0].original).all()


def test_the_figure(config):
    rows = augmented_images(config(), images=2, draws=3)
    figure = augmentation_figure(rows, 'config')
    assert len(figure.axes) == 8
    assert figure.axes[0].get_title() == f'no. {rows[0].index}: {rows[0].labels[0]}, 12x12'
    assert figure.axes[3].get_title() == 'draw 3'
    assert (figure.axes[6].images[0].get_array() == rows[1].draws[1]).all()


def test_mistakes_are_named(config):
    with pytest.raises(UserError, match='image 6 does not exist: the training set has 0 to 5'):
        augmented_images(config(), [6])
    with pytest.raises(UserError, match='several sizes'):
        augmented_images(config(dict(type='RandomResize', scale=(12, 12), ratio_range=(1, 2))), [0], draws=9)
    with pytest.raises(UserError, match='no train_dataloader'):
        augmented_images(Config(dict(model={})))
    with pytest.raises(UserError, match='1 or more'):
        augmented_images(config(), draws=0)
