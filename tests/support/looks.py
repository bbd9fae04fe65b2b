"""What fit's first step finds, made without images, and the config that is written of it."""

import numpy as np
from mmengine.config import Config

from mmdensenet.apis.fit import write_config as module
from mmdensenet.apis.fit.look import Look
from mmdensenet.apis.fit.samples import Samples
from mmdensenet.apis.fit.write_config import Plan


def facts(**changes) -> dict:
    """Of one picture, see :class:`mmdensenet.apis.fit.pictures.Picture`."""
    return dict(size=[64, 64], grey=True, kind='8', brightest=255, mean=[100.0] * 3, square=[10400.0] * 3) | changes


def look_of(targets, classes, **changes) -> Look:
    """As many images as there are targets, all with these facts."""
    count = len(targets)
    samples = Samples('root', [f'{i}' for i in range(count)], [f'{i}.png' for i in range(count)], classes, targets)
    samples.policies = dict(missing='negative') if targets.ndim == 2 else {}
    return Look(samples, [facts(**changes) for _ in range(count)], np.arange(count))


def written(tmp_path, monkeypatch, look: Look, columns=None, speed: float = 0.001, **options) -> tuple[Config, Plan]:
    """The config of a look, without a measured step; by default two images validate, two test, and the others train."""
    monkeypatch.setattr(module, 'seconds_per_image', lambda *args: (speed, 10**6))
    monkeypatch.setattr(module, 'seconds_of_loading', lambda *args: 0.0)
    columns = columns or {'split': ['train'] * (len(look.pictures) - 4) + ['val', 'val', 'test', 'test']}
    options = dict(weights='none') | options
    plan = module.write_config(look, columns, samples_file='w/samples.csv', config_file='w/config.py', **options)
    file = tmp_path / 'config.py'
    file.write_text(plan.text)
    return Config.fromfile(file), plan
