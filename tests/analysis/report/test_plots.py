"""mmdensenet.analysis.report.plots: the charts show the numbers."""

import re
from xml.etree import ElementTree

import numpy as np

from mmdensenet.analysis.report.plots import class_count_chart, confusion_chart, training_charts


def lines_of(chart) -> list[int]:
    """The numbers of points of the drawn curves, which are paths of a few points at least."""
    paths = re.findall(r'<path d="([^"]*)" clip-path="[^"]*" style="fill: none; stroke: #[^"]*stroke-width: 1.2', chart)
    return [len(re.findall('[ML]', path)) for path in paths]


def test_confusion_of_many_classes():
    """Seven classes share a row of 50: no image is lost, and the shares are those of the rows."""
    rng = np.random.default_rng(0)
    matrix = rng.integers(0, 3, (350, 350))
    text, together = confusion_chart(matrix, [f'class {i}' for i in range(350)])
    assert together == 7
    root = ElementTree.fromstring(text)
    titles = [title.text for title in root.iter('title')]
    counts = [int(re.search(r': (\d+) images', title)[1]) for title in titles]
    assert sum(counts) == matrix.sum() and len(counts) == 50 * 50
    share = matrix[:7, 7:14].sum() / matrix[:7].sum()
    assert (
        titles[1] == f'true 0 to 6, predicted 7 to 13: {matrix[:7, 7:14].sum()} images, {share:.1%} of the true class'
    )
    assert len(text) < 1_000_000 and '<image' not in text


def test_confusion_of_few_classes():
    text, together = confusion_chart(np.array([[3, 1, 0], [0, 2, 0], [0, 0, 0]]), ['a', 'b', '<c>'])
    assert together == 1 and '<c>' not in text and '&lt;c&gt;' in text
    assert '>true</text>' in text and '>predicted</text>' in text and '>75</text>' in text
    assert 'true a, predicted b: 1 images, 25.0% of the true class' in text


def test_bars_have_the_names_of_classes():
    text = class_count_chart(np.array([3, 5]), ['cat', 'a name of more than two dozen letters'])
    root = ElementTree.fromstring(text)
    assert [part.text for part in root.iter('text')][:2] == ['cat', 'a name of more than two…']
    assert [part.text for part in root.iter('title')] == [
        'cat: 3 images',
        'a name of more than two dozen letters: 5 images',
    ]
    many = class_count_chart(np.ones(21), [f'class {i}' for i in range(21)])
    assert '>class 3</text>' not in many and '>18</text>' in many


def test_curves_of_a_training():
    steps = list(range(1, 2001))
    curves = {
        'lr': (steps, [0.1] * 1000 + [0.001] * 1000),
        'loss': (steps, [1 / step for step in steps]),
        'accuracy/top1': ([1000, 2000], [50.0, 60.0]),
        'accuracy/top5': ([1000, 2000], [80.0, float('nan')]),
        'f1/top1': ([1000], [float('nan')]),
        'time': (steps, steps),
    }
    charts = dict(training_charts(curves, 'iteration'))
    assert list(charts) == ['loss', 'accuracy', 'learning rate']
    assert all('>best accuracy/top1: iteration 2000, 60</text>' in charts[kind] for kind in ('loss', 'accuracy'))
    assert 'best' not in charts['learning rate']
    assert 1 < max(lines_of(charts['loss'])) <= 400
    assert len(lines_of(charts['accuracy'])) == 2
    assert all(name in charts['accuracy'] for name in ('>accuracy/top1</text>', '>accuracy/top5</text>'))
