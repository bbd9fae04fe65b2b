import numpy as np
import pytest
from mmengine.config import Config

from mmdensenet.apis.fit import write_config as module
from mmdensenet.apis.fit.look import Look
from mmdensenet.apis.fit.network import choose_network
from mmdensenet.apis.fit.samples import Samples
from mmdensenet.apis.fit.schedule_length import training_length
from mmdensenet.apis.fit.write_config import choose_reading, write_config
from mmdensenet.errors import UserError


def picture(**changes):
    return dict(size=[64, 64], grey=True, kind='8', brightest=255, mean=[100.0] * 3, square=[10400.0] * 3) | changes


@pytest.mark.parametrize(
    ('pictures', 'step', 'mean', 'std'),
    [
        ([picture()], "LoadGreyImage', window='full'", [100.0], [20.0]),
        ([picture(grey=False, mean=[90.0, 100, 110])], 'LoadImageFromFile', [90.0, 100.0, 110.0], [47.96, 20.0, 1.0]),
        ([picture(mean=[90.0] * 3, square=[8200.0] * 3), picture()], "window='full'", [95.0], [16.58]),
        # 12 bits of 16: 4095 becomes 255
        ([picture(kind='16', brightest=4000, mean=[6.0] * 3, square=[40.0] * 3)], 'window=(0, 4095)', [96.02], [32.01]),
        ([picture(kind='dicom', windowed=[50.0, 2600.0])], "window='dicom'", [50.0], [10.0]),
        ([picture(kind='dicom', windowed=w) for w in ([50.0, 2600.0], None)], "window='full'", [100.0], [20.0]),
    ],
)  # fmt: skip
def test_reading(pictures, step, mean, std):
    reading = choose_reading(pictures, pictures)
    assert step in reading.step
    assert reading.mean == mean
    assert reading.std == std
    assert reading.channels == len(mean)


def test_images_that_no_setting_reads_alike():
    with pytest.raises(UserError, match='some images are DICOM and others are not'):
        choose_reading([picture()], [picture(), picture(kind='dicom', windowed=None)])
    with pytest.raises(UserError, match='8 bits and others 12 of 16, which would be 16 times darker'):
        choose_reading([picture()], [picture(), picture(kind='16', brightest=4000)])


def test_the_network_is_for_the_size_and_the_weights(tmp_path, monkeypatch):
    digits, cifar, small, large = (choose_network(side, 'none') for side in (8, 32, 64, 300))
    assert digits.backbone['arch']['depths'] == (3, 3, 3)
    assert (cifar.backbone['stem'], cifar.side) == ('cifar', 32)
    assert (small.backbone['stem'], small.side) == ('imagenet', 64)
    assert (large.backbone, large.side, large.load_from) == ({'arch': '121'}, 224, None)
    assert choose_network(150, 'none').side == 128
    with pytest.raises(UserError, match='images of 64 pixels get a small network'):
        choose_network(64, 'imagenet')
    monkeypatch.setattr('mmdensenet.apis.fit.network.read_checkpoint', _no_network)
    with pytest.raises(UserError, match=r'ImageNet weights cannot be had .no route to host.*weights=none') as error:
        choose_network(300, None)
    assert '\n' not in str(error.value)


def _no_network(path):
    raise OSError('no route to host')


def test_weights_of_a_file_bring_their_network(tmp_path):
    import torch

    from mmdensenet.models import DenseNet

    net = DenseNet(arch=dict(growth_rate=8, depths=(2, 2), init_channels=16), in_channels=3, stem='cifar')
    file = tmp_path / 'own.pth'
    torch.save({f'backbone.{key}': value for key, value in net.state_dict().items()}, file)
    found = choose_network(48, str(file))
    assert found.backbone == dict(arch=dict(growth_rate=8, depths=(2, 2), init_channels=16), stem='cifar')
    assert (found.features, found.side, found.load_from) == (32, 48, str(file))
    with pytest.raises(UserError, match=r'none\.pth'):
        choose_network(48, str(tmp_path / 'none.pth'))


def test_length_follows_images_and_minutes():
    free = training_length(420, 60, 0.01, False, None)
    assert (free.epochs, free.val_interval) == (40, 2)
    assert free.expected == pytest.approx(0.01 * (40 * 420 + 20 * 60 / 3))
    short = training_length(420, 60, 0.01, False, 1)
    assert short.epochs == 10
    assert short.expected <= 45
    assert training_length(100_000, 9, 0.01, True, 1).epochs == 1


def written(tmp_path, monkeypatch, targets, classes, size=(64, 64), **options):
    monkeypatch.setattr(module, 'seconds_per_image', lambda *args: 0.001)
    count = len(targets)
    samples = Samples('root', [f'{i}' for i in range(count)], [f'{i}.png' for i in range(count)], classes, targets)
    look = Look(samples, [picture(size=list(size)) for _ in range(count)], np.arange(count))
    parts = ['train'] * (count - 4) + ['val', 'val', 'test', 'test']
    plan = write_config(
        look, {'split': parts}, samples_file='w/samples.csv', config_file='w/config.py', weights='none', **options
    )
    file = tmp_path / 'config.py'
    file.write_text(plan.text)
    return Config.fromfile(file), plan


def test_one_class_per_image(tmp_path, monkeypatch):
    targets = np.array([0] * 80 + [1] * 10 + [2] * 34)
    cfg, plan = written(tmp_path, monkeypatch, targets, ['a', 'b', 'c'])
    assert cfg.model.head.loss.class_weight == pytest.approx([40 / 80, 4.0, 40 / 30], abs=1e-3)
    assert cfg.default_hooks.checkpoint.save_best == 'single-label/recall'
    assert cfg.train_dataloader.dataset.classes == ['a', 'b', 'c']
    assert cfg.train_dataloader.dataset.split == 'train'
    assert cfg.train_dataloader.batch_size == 8
    assert len(cfg.test_pipeline) == 2, 'images of the right size are not resized'
    assert cfg.param_scheduler[1].end == cfg.train_cfg.max_epochs == 40
    assert 'custom_hooks' not in cfg
    assert len(plan.text.splitlines()) < 130
    assert max(map(len, plan.text.splitlines())) <= 120


def test_several_labels_of_large_images(tmp_path, monkeypatch):
    targets = np.zeros((404, 2), np.float32)
    targets[::8, 0] = 1
    targets[::2, 1] = 0.75
    targets[1, 1] = -1
    cfg, _ = written(tmp_path, monkeypatch, targets, ['edema', 'mass'], size=(300, 260), minutes=5)
    assert cfg.model.head.type == 'MultiLabelLinearClsHead'
    assert cfg.model.head.loss.pos_weight == [7.0, 1.0]
    assert cfg.model.backbone.arch == '121'
    assert cfg.model.head.in_channels == 1024
    assert cfg.train_dataloader.dataset.label_columns == ['edema', 'mass']
    assert cfg.train_dataloader.dataset.missing == 'ignore'
    assert cfg.default_hooks.checkpoint.save_best == 'auroc/macro'
    assert cfg.test_pipeline[1].scale == (224, 224)
