import json

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from mmdensenet.results.training_curves import (
    VALIDATION_LOSS,
    best_point,
    draw_curves,
    plot_curves,
    read_scalars,
    smooth,
)


def write(folder, lines):
    target = folder / 'vis_data'
    target.mkdir(parents=True)
    (target / 'scalars.json').write_text(
        '\n'.join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    )


def test_resumed_runs_are_joined(tmp_path):
    write(
        tmp_path / '20260101_000000',
        [
            dict(lr=0.1, loss=4.0, epoch=1, iter=5, step=5),
            dict(lr=0.1, loss=3.0, epoch=1, iter=10, step=10),
            {'accuracy/top1': 30.0, 'step': 1},
            dict(lr=0.1, loss=9.0, epoch=2, iter=15, step=15),
            '{"loss": 1.0, "st',
        ],
    )
    write(
        tmp_path / '20260101_000100',
        [
            dict(lr=0.01, loss=2.0, epoch=2, iter=15, step=15),
            dict(lr=0.01, loss=1.0, epoch=2, iter=20, step=20),
            {'accuracy/top1': 60.0, 'step': 2},
        ],
    )
    curves, unit = read_scalars(tmp_path)
    assert unit == 'epoch'
    assert curves['loss'] == ([0.5, 1.0, 1.5, 2.0], [4.0, 3.0, 2.0, 1.0])
    assert curves['accuracy/top1'] == ([1, 2], [30.0, 60.0])
    assert set(curves) == {'loss', 'lr', 'accuracy/top1'}


def test_the_loss_of_a_validation_is_a_curve_of_its_own(tmp_path):
    steps = [dict(lr=0.1, loss=5.0 - i, epoch=i, iter=10 * i, step=10 * i) for i in (1, 2, 3)]
    checks = [dict(loss=value, step=i) for i, value in ((1, 3.0), (2, 1.5), (3, 2.5))]
    write(tmp_path / 'a', [line for pair in zip(steps, checks) for line in pair])
    curves, unit = read_scalars(tmp_path)
    assert unit == 'epoch'
    assert curves['loss'] == ([1, 2, 3], [4.0, 3.0, 2.0]) and curves[VALIDATION_LOSS] == ([1, 2, 3], [3.0, 1.5, 2.5])
    assert best_point(curves) == (VALIDATION_LOSS, 2, 1.5)


def test_the_best_validation():
    nan = float('nan')
    assert best_point({'loss': ([1], [1.0]), 'lr': ([1], [0.1]), 'unheard/of': ([1], [3.0])}) is None
    assert best_point({'accuracy/top1': ([1, 2, 3], [nan, 40.0, 30.0])}) == ('accuracy/top1', 2, 40.0)
    assert best_point({'accuracy/top1': ([1], [nan]), 'multi-label/mAP': ([1, 2], [3.0, 2.0])})[0] == 'multi-label/mAP'
    assert best_point({'unheard/of': ([1], [3.0]), 'accuracy/top1': ([1], [4.0])}) == ('accuracy/top1', 1, 4.0)


def test_empty_work_dir(tmp_path):
    assert read_scalars(tmp_path)[0] == {}


def test_runs_that_count_iterations(tmp_path):
    write(
        tmp_path / 'a',
        [
            {'accuracy/top1': 20.0, 'step': 0},
            dict(loss=4.0, iter=5, step=5),
            {'accuracy/top1': 30.0, 'step': 0},
            dict(loss=3.0, iter=10, step=10),
            {'accuracy/top1': 60.0, 'step': 0},
        ],
    )
    curves, unit = read_scalars(tmp_path)
    assert unit == 'iteration'
    assert curves['accuracy/top1'] == ([0, 5, 10], [20.0, 30.0, 60.0])


def test_picture_shows_three_panels(tmp_path):
    curves = {'loss': ([1, 2], [2.0, 1.0]), 'accuracy/top1': ([1, 2], [30.0, 60.0]), 'lr': ([1, 2], [0.1, 0.01])}
    plot_curves(curves, tmp_path / 'c.png', title='run')
    plot_curves({'loss': curves['loss']}, tmp_path / 'one.png')
    three, one = (np.asarray(Image.open(tmp_path / name).convert('RGB')) for name in ('c.png', 'one.png'))
    assert three.shape == (400, 1500, 3) and one.shape == (400, 500, 3)
    blue = (three == [63, 144, 218]).all(2)  # the first of COLOURS
    for panel in np.split(blue, 3, axis=1):
        assert panel.sum() > 50, 'a curve is drawn in each panel'


def test_a_run_stopped_in_its_first_epoch(tmp_path):
    """It does not show that an epoch has 100 iterations; a third one, of a larger batch, has 50."""

    def training(last, length):
        return [dict(loss=1.0, epoch=(i - 1) // length + 1, step=i) for i in range(5, last + 1, 5)]

    write(tmp_path / 'a', training(30, 100))
    write(tmp_path / 'b', training(100, 100))
    curves, _ = read_scalars(tmp_path)
    assert curves['loss'][0] == [i / 100 for i in range(5, 101, 5)]
    write(tmp_path / 'c', training(500, 50))
    assert max(read_scalars(tmp_path)[0]['loss'][0]) == 10


@pytest.mark.parametrize(
    ('steps', 'length'),
    [([(1, 10), (2, 11)], 10), ([(2, 20), (3, 21)], 10), ([(2, 12)], 11), ([(3, 23)], 11)],
)
def test_the_length_of_another_runs_epoch_is_taken_where_it_is_possible(tmp_path, steps, length):
    """An epoch of the other has 11 steps: of this one it can be so many only if no later epoch began before."""
    write(tmp_path / 'a', [dict(loss=1.0, epoch=1, step=11)])
    write(tmp_path / 'b', [dict(loss=2.0, epoch=epoch, step=step) for epoch, step in steps])
    x, values = read_scalars(tmp_path)[0]['loss']
    assert [place for place, value in zip(x, values) if value == 2.0] == [step / length for _, step in steps]


def test_long_curves_are_smoothed_over_pale_ones():
    x, y = np.arange(300), 1 / np.arange(1, 301)
    axes = Figure().add_subplot()
    lines = draw_curves(axes, {'loss': (x, y)}, 'iteration')
    pale, line = axes.lines
    assert pale.get_alpha() < 0.5 and lines == {'loss': line}
    np.testing.assert_allclose(line.get_ydata(), smooth(y, 6))
    axes = Figure().add_subplot()
    draw_curves(axes, {'lr': (x, y)}, 'iteration', rates=True)
    [line] = axes.lines
    np.testing.assert_array_equal(line.get_ydata(), y)
    assert axes.get_yscale() == 'log'


def test_smooth_keeps_the_ends():
    np.testing.assert_allclose(smooth([1, 2, 3, 4, 10], 3), [1.5, 2, 3, 17 / 3, 7])
    np.testing.assert_allclose(smooth([7.0] * 9, 4), 7)
