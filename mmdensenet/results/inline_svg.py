"""A figure as SVG inside an HTML page, in the colours of the page."""

import re
from collections.abc import Iterable, Mapping
from io import StringIO
from xml.etree import ElementTree

from matplotlib import rc_context
from matplotlib.figure import Figure

_SVG = '{http://www.w3.org/2000/svg}'
_LINK = '{http://www.w3.org/1999/xlink}href'
_SHAPES = {'path', 'use'}


def inline_svg(figure: Figure, label: str, titles: Mapping[str, str | Iterable[str]] | None = None) -> str:
    """The ``<svg>`` element of a figure.

    Text stays text in the page's font. Black becomes the page's text colour, which is readable in dark mode too.

    Args:
        label: an accessible description, unique on the page, because ids start with it.
        titles: the tooltip of an artist by its ``gid``, or for a mesh one text per cell.
    """
    file = StringIO()
    with rc_context({'svg.fonttype': 'none', 'svg.hashsalt': 'mmdensenet'}):
        figure.savefig(
            file, format='svg', transparent=True, metadata=dict.fromkeys(('Creator', 'Date', 'Format', 'Type'))
        )
    root = ElementTree.fromstring(file.getvalue())
    for parent in root.iter():
        for child in [c for c in parent if c.tag == f'{_SVG}style' or not c.tag.startswith(_SVG)]:
            parent.remove(child)  # metadata, and styles that would apply to the whole page
    for gid, title in (titles or {}).items():
        _add_titles(root, gid, title)
    _own_ids(root, re.sub(r'\W+', '-', label) + '-')
    for element in root.iter():
        element.tag = element.tag.removeprefix(_SVG)
        element.tail = None
        element.text = element.text if (element.text or '').strip() else None
        if 'd' in element.attrib:
            element.set('d', _short(element.get('d')))
        if 'style' in element.attrib:
            element.set('style', _page_colours(element.get('style')))
        if _LINK in element.attrib:
            element.set('href', element.attrib.pop(_LINK))
    width = float(root.get('width').removesuffix('pt'))
    root.attrib = dict(viewBox=root.get('viewBox'), style=f'max-width:{width:.0f}pt', role='img') | {
        'aria-label': label
    }
    return ElementTree.tostring(root, encoding='unicode', short_empty_elements=False)


def _add_titles(root: ElementTree.Element, gid: str, title: str | Iterable[str]) -> None:
    group = root.find(f'.//*[@id="{gid}"]')
    if group is None:  # nothing of it is inside the axes
        return
    if isinstance(title, str):
        ElementTree.SubElement(group, f'{_SVG}title').text = title
        return
    shapes = [e for e in group.iter() if e.tag.removeprefix(_SVG) in _SHAPES]
    for shape, text in zip(shapes, title, strict=True):
        ElementTree.SubElement(shape, f'{_SVG}title').text = text


def _own_ids(root: ElementTree.Element, prefix: str) -> None:
    """Prefix ids that are referenced, and remove the others."""
    text = ElementTree.tostring(root, encoding='unicode')
    used = set(re.findall(r'="#([^"]+)"|url\(#([^)]+)\)', text))
    used = {name for pair in used for name in pair if name}
    for element in root.iter():
        name = element.attrib.pop('id', None)
        if name in used:
            element.set('id', prefix + name)
        for key, value in element.attrib.items():
            if key == _LINK:
                element.set(key, value.replace('#', f'#{prefix}', 1))
            elif 'url(#' in value:
                element.set(key, value.replace('url(#', f'url(#{prefix}'))


def _short(path: str) -> str:
    """A path with two decimals."""
    return re.sub(r'\d+\.\d+', lambda number: f'{float(number[0]):.2f}', ' '.join(path.split()))


def _page_colours(style: str) -> str:
    style = re.sub(r"'DejaVu Sans'[^;]*", 'inherit', style) if 'DejaVu' in style else style
    return re.sub(r'(?<=: )#000000', 'currentColor', style)
