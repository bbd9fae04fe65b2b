"""mmdensenet.results.inline_svg: a figure inside a page, which needs nothing else and harms nothing."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from mmdensenet.results.figures import new_figure
from mmdensenet.results.inline_svg import inline_svg


@pytest.fixture
def figure():
    return make()


def make():
    figure = new_figure(4, 3)
    axes = figure.add_subplot(xlabel='<i>x</i>')
    axes.plot([0, 1], [0, 1], marker='o', label='a & b', gid='line')
    axes.pcolormesh([0, 1, 2], [0, 1], np.array([[0.0, 1.0]]), gid='cells')
    axes.legend()
    return figure


def test_stands_by_itself(figure):
    text = inline_svg(figure, 'a "chart"')
    root = ElementTree.fromstring(text)
    assert root.tag == 'svg' and root.get('role') == 'img' and root.get('aria-label') == 'a "chart"'
    assert root.get('viewBox') == '0 0 288 216' and root.get('style') == 'max-width:288pt'
    assert not {'style', 'metadata', 'script', 'image'} & {element.tag for element in root.iter()}
    assert 'http' not in text and '<i>' not in text and '>&lt;i&gt;x&lt;/i&gt;</text>' in text
    assert '>a &amp; b</text>' in text, 'text stays text'
    ids = [element.get('id') for element in root.iter() if element.get('id')]
    used = set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', text))
    assert {name for pair in used for name in pair if name} == set(ids) and len(ids) == len(set(ids))


def test_two_in_a_page_share_no_ids(figure):
    ids = [set(re.findall(r'id="([^"]+)"', inline_svg(figure, name))) for name in ('one', 'two')]
    assert ids[0] and not ids[0] & ids[1]
    assert inline_svg(make(), 'one') == inline_svg(make(), 'one'), 'the same page each time'


def test_black_is_the_colour_of_the_page(figure):
    text = inline_svg(figure, 'a')
    assert '#000000' not in text and 'stroke: currentColor' in text
    assert 'DejaVu' not in text and 'font-family: inherit' in text


def test_titles(figure):
    titles = {'line': '<rising>', 'cells': ['low', 'high'], 'outside the axes': 'never seen'}
    root = ElementTree.fromstring(inline_svg(figure, 'a', titles))
    assert [title.text for title in root.iter('title')] == ['low', 'high', '<rising>']
    with pytest.raises(ValueError, match='zip'):
        inline_svg(figure, 'a', {'cells': ['one title for two cells']})
