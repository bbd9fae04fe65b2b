"""mmdensenet info: what a bug report needs, also where importing mmdensenet fails."""

import importlib.metadata
import platform

import mmengine
import pytest
import torch

import mmdensenet
from mmdensenet.ops.show_engine import engine
from mmdensenet_cli import info
from mmdensenet_cli.main import main


def told(capsys) -> dict[str, str]:
    main(['info'])
    lines = capsys.readouterr().out.splitlines()
    return {name: value.strip() for name, _, value in (line.partition(':') for line in lines)}


def test_info(capsys, monkeypatch):
    monkeypatch.setenv('MMDENSENET_SOMETHING', '1')
    lines = told(capsys)
    assert lines['mmdensenet'].startswith(mmdensenet.__version__)
    assert lines['Python'].startswith(platform.python_version())
    assert mmengine.__version__ in lines['mmengine']
    assert lines['torch'].startswith(f'{torch.__version__}, {torch.get_num_threads()} threads')
    assert lines['engine'].startswith(f'float32 {engine()}; bfloat16 ')
    assert 'MMDENSENET_SOMETHING=1' in lines['variables']
    assert ' repairs applied' in lines['compat'] and 'error' not in lines


def test_what_fails_is_told(capsys, monkeypatch):
    def fail():
        raise ImportError('mmdensenet needs mmcv or mmcv-lite')
        yield

    monkeypatch.setattr(info, 'found', fail)
    lines = told(capsys)
    assert lines['error'] == 'ImportError: mmdensenet needs mmcv or mmcv-lite'
    assert mmengine.__version__ in lines['mmengine']


@pytest.mark.parametrize(
    ('there', 'said'),
    [
        ({'mmengine': '0.10.7'}, 'mmengine 0.10.7'),
        ({'onedl-mmengine': '0.10.9'}, 'onedl-mmengine 0.10.9'),
        ({'mmengine': '0.10.7', 'onedl-mmengine': '0.10.9'}, 'mmengine 0.10.7, onedl-mmengine 0.10.9'),
        ({}, 'not installed'),
    ],
)
def test_the_foundation_found(there, said, monkeypatch):
    def version(name):
        if name in there:
            return there[name]
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, 'version', version)
    assert dict(info.installed())['mmengine'] == said


def test_a_command_that_an_installation_has_left_behind(monkeypatch, capsys):
    monkeypatch.setattr(info.importlib.util, 'find_spec', lambda name: None)
    for arguments in (['info'], ['--version']):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 2 and 'has no mmdensenet: install it there again' in capsys.readouterr().err
