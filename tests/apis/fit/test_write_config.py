import numpy as np
import pytest
from mmengine.config import Config

from mmdensenet.apis.fit import write_config as module
from mmdensenet.apis.fit.look import Look
from mmdensenet.apis.fit.samples import Samples
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
    # one in colour, and all are read in colour, as 8 bits of 16
    with pytest.raises(UserError, match='8 bits and others 12 of 16, which would be 16 times darker'):
        choose_reading([picture()], [picture(grey=False), picture(kind='16', brightest=4000)])
    with pytest.raises(UserError, match=r'use 10 of them, and some are in colour.* 64 times too dark'):
        choose_reading([picture()], [picture(kind='16', brightest=b, grey=b < 900) for b in (500, 1000)])
    bright = [picture(grey=False), picture(kind='16', brightest=65535)]
    assert choose_reading(bright, bright).channels == 3, 'as bright as those of 8 bits'


def written(tmp_path, monkeypatch, targets, classes, size=(64, 64), **options):
    monkeypatch.setattr(module, 'seconds_per_image', lambda *args: 0.001)
    count = len(targets)
    samples = Samples('root', [f'{i}' for i in range(count)], [f'{i}.png' for i in range(count)], classes, targets)
    samples.policies = dict(missing='negative') if targets.ndim == 2 else {}
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
    assert '# 8 images at once: fewer than 32, for ten steps an epoch.' in plan.text
    assert 'label_policies' not in cfg
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
    assert cfg.label_policies == dict(missing='negative'), 'in the table that samples.csv is made of'
    assert cfg.default_hooks.checkpoint.save_best == 'auroc/macro'
    assert cfg.test_pipeline[1].scale == (224, 224)
