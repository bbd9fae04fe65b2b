"""Sphinx: `make docs` builds docs/_build/html without network access, `make linkcheck` follows the external links."""

import importlib.util
import re
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent

project = 'mmdensenet'
author = 'mmdensenet contributors'
copyright = '2026, mmdensenet contributors'
release = version = re.search(r"__version__ = '(.+)'", (DOCS.parent / 'mmdensenet' / 'version.py').read_text())[1]

extensions = ['myst_parser', 'sphinx.ext.autodoc', 'sphinx.ext.autosummary', 'sphinx.ext.napoleon']
extensions += ['sphinx_copybutton', 'sphinx_design']
myst_enable_extensions = ['colon_fence']
copybutton_prompt_text = '$ '  # of console blocks only the commands are copied, without it
exclude_patterns = ['_build']
templates_path = ['_templates']
myst_heading_anchors = 3

#: modules that nobody imports from outside: what is public of them is documented with their package
PRIVATE = (
    *('mmdensenet.compat.', 'mmdensenet.ops.steps', 'mmdensenet.ops.block', 'mmdensenet.analysis.report.'),
    *('mmdensenet.apis.fit.', 'mmdensenet.data_repairs', 'mmdensenet.similar', 'mmdensenet.terminal'),
)

autosummary_generate = True
autosummary_context = dict(private=PRIVATE)
autosummary_ignore_module_all = True  # lists all modules of a package; automodule keeps to __all__
# only what is said here: torch's words for every forward() are in its own reference
autodoc_inherit_docstrings = False
autodoc_member_order = 'bysource'
autodoc_default_options = {'special-members': '__call__'}
autodoc_typehints = 'signature'
# extras that a module may import at its top; the others are imported where they are used
autodoc_mock_imports = [
    name for name in ('triton', 'onnx', 'onnxruntime', 'openvino') if importlib.util.find_spec(name) is None
]
napoleon_numpy_docstring = False
napoleon_use_rtype = False

# Every reference to something of ours has to be found; those to other libraries would need their inventories, from
# the network.
nitpicky = True
# of other packages, and private bases, which have no page
nitpick_ignore_regex = [(r'py:.*', r'(?!mmdensenet\b).*'), (r'py:class', r'mmdensenet\..*\._\w+')]
nitpick_ignore_regex += [(r'py:.*', re.escape(module) + '.*') for module in PRIVATE]

html_theme = 'furo'
html_title = f'mmdensenet {version}'
html_static_path = ['_static']
html_css_files = ['wide.css']

linkcheck_timeout = 20
linkcheck_retries = 2
linkcheck_ignore = [r'https?://(localhost|127\.0\.0\.1)', r'https://example\.org/.*']
linkcheck_anchors_ignore_for_url = [r'https://github\.com/.*']


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


def leave_to_package(app, what, name, obj, skip, options):
    """Skip on a module's page what the package above documents under its shorter, public name."""
    module = sys.modules.get(app.env.temp_data.get('autodoc:module') or '')
    if what != 'module' or module is None or hasattr(module, '__path__'):
        return None
    package = sys.modules.get(module.__name__.rpartition('.')[0])
    if name in getattr(package, '__all__', ()) and getattr(package, name, None) is obj:
        return True
    return None


def setup(app) -> None:
    app.connect('builder-inited', check_table_of_repairs)
    app.connect('autodoc-skip-member', leave_to_package)
