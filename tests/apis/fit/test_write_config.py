"""What is measured and chosen for the config: batch, loss, network and schedule."""

import numpy as np
import pytest
from looks import look_of, written

from mmdensenet.apis.fit.train_best import fold_options
from mmdensenet.apis.fit.write_config import describe_seconds
from mmdensenet.apis.runner import open_config


def test_one_class_per_image(tmp_path, monkeypatch):
    targets = np.array([0] * 80 + [1] * 10 + [2] * 34)
    cfg, plan = written(tmp_path, monkeypatch, look_of(targets, ['a', 'b', 'c']))
    assert not cfg.data_preprocessor.to_rgb
    assert cfg.model.head.loss.class_weight == pytest.approx([40 / 80, 4.0, 40 / 30], abs=1e-3)
    assert cfg.train_dataloader.batch_size == 8
    assert cfg.param_scheduler[1].end == cfg.train_cfg.max_epochs == 40
    assert '# 8 images at once: fewer than 32, for ten steps an epoch.' in plan.text


def test_several_labels_of_large_images(tmp_path, monkeypatch):
    targets = np.zeros((404, 2), np.float32)
    targets[::8, 0] = 1
    targets[::2, 1] = 0.75
    targets[1, 1] = -1
    cfg, _ = written(tmp_path, monkeypatch, look_of(targets, ['edema', 'mass'], size=[300, 260]), minutes=5)
    assert cfg.model.head.loss.pos_weight == [7.0, 1.0]
    assert cfg.model.backbone.arch == '121'
    assert cfg.model.head.in_channels == 1024


@pytest.mark.parametrize(
    ('side', 'name'),
    [(32, 'DenseNet-BC (L=22, k=12)'), (64, 'DenseNet-BC (L=22, k=12) behind a stem that divides the size by four')],
)
def test_a_smaller_network_where_time_is_short_is_called_what_it_is(tmp_path, monkeypatch, side, name):
    """Of 41 pixels and more the stem had been left out of the comment."""
    look = look_of(np.arange(200) % 2, ['a', 'b'], size=[side, side])
    cfg, plan = written(tmp_path, monkeypatch, look, speed=0.05, minutes=0.2)
    assert cfg.model.backbone.arch.depths == (3, 3, 3) and cfg.model.head.in_channels == 69
    assert plan.lines[0] == f'{name}: one of more layers makes 1 epoch in 0.2 minutes'
    assert f'# {plan.lines[0]}.\n# Trained anew: ' in plan.text
    assert cfg.model.backbone.stem == ('imagenet' if 'stem' in name else 'cifar')
    assert '1 epoch of 196 images in batches of 16' in plan.lines and '# 1 epoch: ' in plan.text
    assert ' 98 images of each class: no class_weight' in plan.text


def test_each_fold_has_the_mean_and_the_weights_of_its_own_training_part(tmp_path, monkeypatch):
    """Nothing of the images that a fold holds out: of fold 1 their values, and labels, are others."""
    targets = np.array([0] * 50 + [1] * 7 + [0] * 30 + [1] * 33)
    look = look_of(targets, ['a', 'b'])
    for picture in look.pictures[80:]:
        picture.update(mean=[200.0] * 3, square=[40900.0] * 3)
    parts = np.array(['train'] * 120, dtype=object)
    columns = {f'fold{k}': parts.copy() for k in range(3)}
    for k, (test, val) in enumerate([((80, 120), (57, 80)), ((0, 40), (40, 50)), ((50, 57), (57, 60))]):
        columns[f'fold{k}'][slice(*val)] = 'val'
        columns[f'fold{k}'][slice(*test)] = 'test'
    columns = {name: column.tolist() for name, column in columns.items()}
    cfg, plan = written(tmp_path, monkeypatch, look, columns)
    assert max(map(len, plan.text.splitlines())) <= 120
    assert "Mean and deviation are those of fold 0's training part, 0 to 255." in plan.text
    for k, column in enumerate(columns):
        opened = open_config(str(tmp_path / 'config.py'), fold_options(tmp_path / 'config.py', column))
        train = [picture for picture, part in zip(look.pictures, columns[column]) if part == 'train']
        mean = np.mean([picture['mean'][0] for picture in train])
        std = np.sqrt(np.mean([picture['square'][0] for picture in train]) - mean**2)
        assert opened.data_preprocessor.mean == [pytest.approx(mean, abs=0.01)]
        assert opened.data_preprocessor.std == [pytest.approx(std, abs=0.01)]
        assert opened.val_dataloader.dataset.split_column == column
        count = np.bincount(targets[np.array(columns[column]) == 'train'])
        weights = pytest.approx(count.mean() / count, abs=1e-3) if count[0] > 5 * count[1] else None
        assert opened.model.head.loss.class_weight == weights
        assert (k == 0) == (weights is not None)
    assert cfg.data_preprocessor.mean == cfg.folds.fold0.data_preprocessor.mean == [100.0]
    cfg, _ = written(tmp_path, monkeypatch, look)
    assert 'folds' not in cfg


def test_colours_are_turned_to_the_order_of_mean_and_deviation(tmp_path, monkeypatch):
    look = look_of(np.arange(60) % 2, ['a', 'b'], grey=False, mean=[90.0, 100.0, 110.0], square=[10000.0] * 3)
    cfg, _ = written(tmp_path, monkeypatch, look)
    assert cfg.data_preprocessor.to_rgb and cfg.data_preprocessor.mean == [90, 100, 110]
    assert cfg.model.backbone.get('in_channels', 3) == 3


def test_times_in_words():
    found = [describe_seconds(seconds) for seconds in (1, 2, 89, 90, 3600, 5399, 5400)]
    assert found == ['1 second', '2 seconds', '89 seconds', '2 minutes', '60 minutes', '90 minutes', '1.5 hours']
