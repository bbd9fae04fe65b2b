"""mmdensenet.compat.foundation: which packages are found, and what is said where there are none or two of a kind."""

import importlib.metadata
import importlib.util
import logging
import re
import sys

import mmengine
import pytest
from conftest import ROOT

from mmdensenet import compat
from mmdensenet.compat import foundation


def test_what_is_found(caplog):
    assert mmengine.__version__ in foundation.describe()
    with caplog.at_level(logging.INFO, 'mmdensenet'):
        compat._require_foundation()
    assert ('mmdensenet', logging.INFO, f'on {foundation.describe()}') in caplog.record_tuples


@pytest.mark.parametrize(
    ('gone', 'said'),
    [
        (['mmengine'], 'mmengine'),
        (['mmpretrain'], 'mmpretrain'),
        (['mmengine', 'mmpretrain'], 'mmengine and mmpretrain'),
    ],
)
def test_without_one_the_import_says_what_to_install(gone, said, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None if name in gone else find(name))
    with pytest.raises(ImportError, match=rf'^mmdensenet needs {said}: .*mmdensenet\[lite\].*mmdensenet\[onedl\]'):
        compat._require_foundation()


@pytest.mark.parametrize('second, said', [('one', ['mmengine and onedl-mmengine']), ('other', [])])
def test_two_in_one_folder_are_named(second, said, tmp_path, monkeypatch, caplog):
    """In two folders the first on the path is whole."""
    for folder, name in (('one', 'mmengine'), (second, 'onedl-mmengine')):
        info = tmp_path / folder / f'{name.replace("-", "_")}-1.0.dist-info'
        info.mkdir(parents=True)
        (info / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n')
    paths = [str(tmp_path / folder) for folder in ('one', 'other')]
    monkeypatch.setattr(sys, 'path', paths)
    importlib.invalidate_caches()
    assert foundation.overwritten() == said
    assert foundation.describe() == 'mmengine 1.0, onedl-mmengine 1.0'


def test_no_requirement_overwrites_another_foundation():
    """Nothing but the extras that are named after them brings a package that another one would overwrite."""
    distributions = {name for names in foundation.FOUNDATION.values() for name in names}
    bring = {
        file.stem
        for file in (ROOT / 'requirements').glob('*.txt')
        if file.stem != 'constraints'
        and distributions & set(re.findall(r'(?m)^([\w-]+)', file.read_text(encoding='utf-8')))
    }
    assert bring == {'lite', 'openmmlab', 'onedl'}
