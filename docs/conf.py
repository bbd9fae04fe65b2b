"""Sphinx: `make docs` builds docs/_build/html, without network access."""

import re
from pathlib import Path

DOCS = Path(__file__).resolve().parent

project = 'mmdensenet'
author = 'mmdensenet contributors'
copyright = '2026, mmdensenet contributors'
release = version = re.search(r"__version__ = '(.+)'", (DOCS.parent / 'mmdensenet' / 'version.py').read_text())[1]

extensions = ['myst_parser', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon']
exclude_patterns = ['_build']
myst_heading_anchors = 3

autodoc_member_order = 'bysource'
autodoc_typehints = 'signature'
napoleon_numpy_docstring = False
napoleon_use_rtype = False

html_theme = 'furo'
html_title = f'mmdensenet {version}'


def check_table_of_repairs(app) -> None:
    """Warn, which fails the build, if compatibility.md does not say what mmdensenet.compat does."""
    from sphinx.util import logging

    from mmdensenet.compat import FAULTS

    text = (DOCS / 'compatibility.md').read_text(encoding='utf-8')
    rows = [line for line in text.splitlines() if line.startswith('| ')]
    for fault in FAULTS:
        row = f'| {fault.what} | {fault.versions} | {fault.until} |'
        if row not in rows:
            logging.getLogger(__name__).warning('compatibility.md lacks the row: %s', row)


def setup(app) -> None:
    app.connect('builder-inited', check_table_of_repairs)
