"""The examples in docstrings give what they say."""

import doctest
import importlib
from pathlib import Path

import pytest
from conftest import ROOT

MODULES = [
    '.'.join(file.relative_to(ROOT).with_suffix('').parts).removesuffix('.__init__')
    for file in sorted(Path(ROOT, 'mmdensenet').rglob('*.py'))
    if '.mim' not in file.parts and '>>> ' in file.read_text(encoding='utf-8')
]


def test_there_are_some():
    assert len(MODULES) >= 6


@pytest.mark.parametrize('name', MODULES)
def test_examples(name):
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert result.attempted and not result.failed
