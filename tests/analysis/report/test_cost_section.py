import pytest
from conftest import DIGITS

import mmdensenet
from mmdensenet.analysis.report import cost_section as module
from mmdensenet.analysis.report.cost_section import cost_section
from mmdensenet.errors import UserError


@pytest.fixture(scope='module')
def model():
    return mmdensenet.get_model(str(DIGITS))


def test_predicted(model):
    found = cost_section(model._config, model, (1, 8, 8), measure=False)
    assert found['shape'] == '1x8x8' and found['parameters'] == 71254
    assert [(engine, kind) for engine, kind, _ in found['memories']] == [(e, 'predicted') for e in found['engines']]
    assert found['engines'] == ['reference', 'fused'] and set(found['multiply_adds']) == set(found['engines'])
    assert found['speeds'] == []


def test_what_cannot_be_counted_is_named(model, monkeypatch):
    def fail(*_):
        raise UserError('no such model.')

    monkeypatch.setattr(module, 'count_stages', fail)
    found = cost_section(model._config, model, (1, 8, 8), measure=False)
    assert found['no_stages'] == 'The stages are not counted: no such model.' and found['stages'] == []
