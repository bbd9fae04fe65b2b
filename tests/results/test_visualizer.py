"""mmdensenet.results.visualizer: the lines above the picture, and its size."""

import numpy as np
import pytest
import torch
from mmpretrain.structures import DataSample
from PIL import Image

from mmdensenet.results import visualizer
from mmdensenet.results.visualizer import FastVisualizer, draw_lines


@pytest.fixture
def sample():
    scores = torch.tensor([0.25, 0.75, 0.0])
    return DataSample().set_gt_label(2).set_pred_label(1).set_pred_score(scores)


@pytest.fixture
def lines(monkeypatch):
    """What was written above the pictures."""
    seen = []
    monkeypatch.setattr(visualizer, 'draw_lines', lambda image, text: seen.append(text) or draw_lines(image, text))
    return seen


@pytest.mark.parametrize(
    ('settings', 'expected'),
    [
        (dict(classes=['cat', 'dog', 'owl']), ['Ground truth: 2 (owl)', 'Prediction: 1 (dog) 0.75']),
        (dict(classes=['cat']), ['Ground truth: 2', 'Prediction: 1 0.75']),
        (dict(draw_gt=False, draw_score=False), ['Prediction: 1']),
        (dict(draw_pred=False), ['Ground truth: 2']),
    ],
)
def test_labels_and_scores(sample, lines, tmp_path, settings, expected):
    image = np.zeros((8, 8, 1), np.uint8)
    FastVisualizer().visualize_cls(image, sample, out_file=str(tmp_path / 'a/b.png'), **settings)
    assert lines == [expected]


@pytest.mark.parametrize(
    ('size', 'settings', 'expected'),
    [
        ((8, 16), {}, (128, 256)),
        ((200, 300), {}, (200, 300)),
        ((200, 300), dict(resize=100), (100, 150)),
        ((200, 300), dict(rescale_factor=2), (400, 600)),
    ],
)
def test_the_picture_is_below_its_lines(sample, tmp_path, size, settings, expected):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    file = tmp_path / 'a.png'
    drawn = FastVisualizer().visualize_cls(image, sample, out_file=str(file), **settings)
    assert (np.asarray(Image.open(file)) == drawn).all()
    height, width = expected
    assert drawn.shape[0] == height + 36 and drawn.shape[1] >= width
    assert drawn[:36].any() and set(np.unique(drawn[:4])) == {0}
    if not settings and min(size) > 128:
        assert (drawn[36:, :width] == image).all()
