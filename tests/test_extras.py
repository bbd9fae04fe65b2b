"""What to run where an extra is missing: in a clone, in a clone that pip does not know, and from a wheel."""

import importlib.metadata
import json
import sys
from types import SimpleNamespace

import pytest
from conftest import ROOT

from mmdensenet import extras
from mmdensenet.errors import UserError
from mmdensenet.extras import imported, install_command

EDITABLE = '{"url": "file:///clone", "dir_info": {"editable": true}}'
WHEEL = '{"url": "file:///dist/mmdensenet-0.1.0-py3-none-any.whl", "archive_info": {}}'


@pytest.mark.parametrize(
    ('record', 'command'),
    [
        (EDITABLE, 'pip install "mmdensenet[export]", or pip install -e ".[export]"'),
        (WHEEL, 'pip install "mmdensenet[export]"'),
        (None, 'pip install "mmdensenet[export]"'),  # from an index
        (importlib.metadata.PackageNotFoundError(), 'pip install -e ".[export]"'),
    ],
    ids=['editable', 'wheel', 'index', 'not installed'],
)
def test_command(record, command, monkeypatch, tmp_path):
    def find(name: str):
        if isinstance(record, Exception):
            raise record
        return SimpleNamespace(read_text=lambda file: record)

    monkeypatch.setattr(importlib.metadata, 'distribution', find)
    monkeypatch.chdir(ROOT)
    assert install_command('export') == command
    monkeypatch.chdir(tmp_path)
    assert install_command('export') == command.replace('".[', f'"{ROOT}[')
    monkeypatch.setattr(extras, '__file__', str(tmp_path / 'site-packages/mmdensenet/extras.py'))
    assert install_command('export') == 'pip install "mmdensenet[export]"', 'where there is no clone'


def test_a_package_that_is_missing_is_named_with_its_command(monkeypatch):
    assert imported('json.decoder', 'this needs json').JSONDecodeError is json.JSONDecodeError
    monkeypatch.setitem(sys.modules, 'nowhere', None)
    with pytest.raises(UserError, match=r'^FILE needs nowhere\. Run: pip install nowhere$'):
        imported('nowhere.inside', 'FILE needs nowhere')
