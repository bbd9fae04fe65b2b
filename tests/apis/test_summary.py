"""The summary of a command's model."""

from conftest import CONFIGS, DIGITS
from mmengine.config import Config

import mmdensenet
from mmdensenet import terminal
from mmdensenet.apis.summary import cost_in_words, summarise


def test_cost_in_words():
    cfg = Config.fromfile(CONFIGS / 'densenet-bc-l40-k12_1xb64_cifar10.py')
    cfg.model.head.num_classes = 10
    words = cost_in_words(cfg)
    assert words.endswith(' MFLOPs (multiply-adds) for 3x32x32')
    cfg.model.backbone = dict(type='ResNet', depth=18)
    assert cost_in_words(cfg) is None, 'a line of a summary keeps nobody from working'


def test_rows(monkeypatch):
    rows = []
    monkeypatch.setattr(terminal, 'summary', rows.extend)
    model = mmdensenet.get_model(str(DIGITS))
    summarise(model, 'w.pth', images=12)
    assert not rows, 'not on a terminal of one who wants to see all'
    monkeypatch.setattr(terminal, 'is_quiet', lambda: True)
    summarise(model, 'w.pth', images=12)
    found = dict(rows)
    assert list(found) == ['config', 'model', 'checkpoint', 'images', 'device', 'precision', 'engine']
    assert (found['checkpoint'], found['images'], found['precision']) == ('w.pth', 12, 'float32')
    assert found['config'].endswith(DIGITS.name)
