"""mmdensenet.results.figures: the parts of which pictures are made."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from mmdensenet.errors import UserError
from mmdensenet.results.figures import (
    COLOURS,
    MARKERS,
    contrasting,
    label_ticks,
    new_figure,
    picture_grid,
    save_figure,
    scale_rates,
    whole_numbers,
)


def test_size_and_title(tmp_path):
    figure = new_figure(3, 2, 'a title of many words ' * 4)
    assert figure.get_suptitle().count('\n') >= 1, 'it is wrapped'
    with Image.open(save_figure(figure, tmp_path / 'new' / 'x.png')) as picture:
        assert picture.size == (300, 200)
    assert save_figure(figure, tmp_path / 'x.svg').read_text().startswith('<?xml')
    with pytest.raises(UserError, match=r'must end in \.png or \.svg or \.pdf'):
        save_figure(figure, tmp_path / 'x.jpg')


def test_looks_repeat_late():
    assert len(set(COLOURS)) == 10 and np.lcm(len(COLOURS), len(MARKERS)) == 70


@pytest.mark.parametrize(('names', 'most', 'shown'), [(4, 4, [0, 1, 2, 3]), (5, 4, [0, 2, 4]), (9, 4, [0, 3, 6])])
def test_of_many_names_only_some_are_written(names, most, shown):
    axis = Figure().add_subplot().xaxis
    label_ticks(axis, [f'name {i}' for i in range(names)], most)
    assert axis.get_ticklocs().tolist() == shown
    assert [label.get_text() for label in axis.get_ticklabels()] == [f'name {i}' for i in shown]


@pytest.mark.parametrize(
    ('values', 'scale'),
    [([0.1, 0.01], 'linear'), ([0.1, 0.001], 'log'), ([0.1, 1e-7], 'linear'), ([0.1, 0.0], 'linear')],
)
def test_rates_that_fall_in_steps_get_a_logarithmic_axis(values, scale):
    axes = Figure().add_subplot()
    scale_rates(axes, np.array(values))
    assert axes.get_yscale() == scale


def test_epochs_are_whole():
    axes = Figure().add_subplot()
    axes.plot([1, 2], [0, 1])
    whole_numbers(axes)
    assert all(tick == round(tick) for tick in axes.get_xticks())


def test_texts_can_be_read_on_their_cells():
    axes = Figure().add_subplot()
    values = np.array([[0.0, 1.0]])
    contrasting(axes, axes.imshow(values, cmap='gray'), values, [['dark', 'bright']], 8)
    assert {text.get_text(): text.get_color() for text in axes.texts} == {'dark': 'white', 'bright': '#111111'}


def test_grid():
    pictures = [[np.zeros((8, 8, 3), np.uint8)] * 2, [np.zeros((20, 8, 3), np.uint8)]]
    figure = picture_grid(pictures, [['a', 'b'], ['c']], 'all')
    heights = [1.9 + 0.2 + 0.1, 2 * 1.9 + 0.2 + 0.1]  # of a picture, at most twice as high as wide, and its title
    assert figure.get_size_inches().tolist() == pytest.approx([2 * 1.9 + 0.2, sum(heights) + 0.5])
    assert [axes.get_title() for axes in figure.axes] == ['a', 'b', 'c']
    assert figure.axes[0].images[0].get_interpolation() == 'nearest', 'pixels of small pictures stay visible'
    with pytest.raises(UserError, match='41 pictures beside and 1 below each other do not fit'):
        picture_grid([pictures[0][:1] * 41], [[''] * 41])
