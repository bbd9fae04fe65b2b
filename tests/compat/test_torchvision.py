"""mmdensenet.compat.torchvision: its operators are declared once, and only where its library does not load."""

import pytest
import torch

from mmdensenet.compat import torchvision


@pytest.fixture
def declared(monkeypatch):
    """The schemas that are declared when torchvision is imported for the first time."""
    schemas = []

    class Library:
        def __init__(self, name, kind):
            assert (name, kind) == ('torchvision', 'FRAGMENT')

        define = schemas.append

    class Operators:
        nms = 'declared by somebody else'

    monkeypatch.delitem(torchvision.sys.modules, 'torchvision', raising=False)
    monkeypatch.setattr(torch.library, 'Library', Library)
    monkeypatch.setattr(torch.ops, 'torchvision', Operators())
    return schemas


@pytest.mark.parametrize(('loads', 'names'), [(True, []), (False, ['qnms'])])
def test_declared_where_the_library_does_not_load(monkeypatch, declared, loads, names):
    monkeypatch.setattr(torchvision, '_loads', lambda library: loads)
    torchvision.declare_torchvision_operators()
    assert [schema.partition('(')[0] for schema in declared] == names


def test_a_library_that_cannot_be_loaded(tmp_path):
    (tmp_path / 'no_library.so').write_text('no library')
    assert not torchvision._loads(tmp_path / 'no_library.so')
