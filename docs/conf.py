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

#: what the pages name: this is public, and so is what a package has in ``__all__``
NAMED = {
    name
    for page in DOCS.glob('*.md')
    if page.stem != 'changelog'
    for name in re.findall(r'\bmmdensenet(?:\.\w+)+', page.read_text(encoding='utf-8'))
}


def public_modules(package: Path) -> set[str]:
    """The packages and modules that have a page: those with a public name, and the packages above them."""
    public = set()
    for file in package.rglob('*.py'):
        parts = file.relative_to(package.parent).with_suffix('').parts
        if parts[-1] == '__init__':
            parts = parts[:-1]
            is_public = re.search('^__all__ = ', file.read_text(encoding='utf-8'), re.MULTILINE) is not None
        else:
            is_public = any(name.startswith('.'.join(parts) + '.') for name in NAMED)
        if is_public:
            public.update('.'.join(parts[:end]) for end in range(1, len(parts) + 1))
    return public


PUBLIC = public_modules(DOCS.parent / 'mmdensenet')

autosummary_generate = True
autosummary_context = dict(public=PUBLIC)
autosummary_ignore_module_all = True  # lists all modules of a package; automodule keeps to __all__
# only what is said here: torch's words for every forward() are in its own reference
autodoc_inherit_docstrings = False
autodoc_member_order = 'bysource'
autodoc_default_options = {'special-members': '__call__'}
autodoc_typehints = 'signature'
autodoc_preserve_defaults = True  # as they are written, not a function's address
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
# of modules without a page: the words stand there without a link
nitpick_ignore_regex += [(r'py:.*', rf'(?!(?:{"|".join(sorted(map(re.escape, PUBLIC), reverse=True))})(?:\.\w+)?$).*')]

html_theme = 'furo'
html_title = f'mmdensenet {version}'
html_static_path = ['_static']
html_css_files = ['wide.css']

linkcheck_timeout = 20
linkcheck_retries = 2
linkcheck_ignore = [r'https?://(localhost|127\.0\.0\.1)', r'https://example\.org/.*']
linkcheck_anchors_ignore_for_url = [r'https://github\.com/.*']


def keep_to_public(app, what, name, obj, skip, options):
    """Skip on a module's page what no page names, and what the package above documents under its shorter name."""
    module = sys.modules.get(app.env.temp_data.get('autodoc:module') or '')
    if what != 'module' or module is None or hasattr(module, '__all__'):
        return None
    package = sys.modules.get(module.__name__.rpartition('.')[0])
    of_package = name in getattr(package, '__all__', ()) and getattr(package, name, None) is obj
    return True if of_package or f'{module.__name__}.{name}' not in NAMED else None


def setup(app) -> None:
    app.connect('autodoc-skip-member', keep_to_public)
