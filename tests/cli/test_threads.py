"""OpenMP's threads wait briefly, unless the environment says how they wait."""

import os
import sys

import pytest

from mmdensenet_cli.threads import SPIN_COUNT, wait_briefly


@pytest.mark.parametrize('own', [{}, {'OMP_WAIT_POLICY': 'ACTIVE'}, {'GOMP_SPINCOUNT': '7'}])
def test_the_environment_has_the_last_word(own, monkeypatch):
    monkeypatch.delitem(sys.modules, 'torch', raising=False)
    monkeypatch.setattr(os, 'environ', dict(own))
    assert wait_briefly() == (not own)
    assert os.environ == (own or {'GOMP_SPINCOUNT': str(SPIN_COUNT)})


def test_too_late_after_torch(monkeypatch):
    monkeypatch.setitem(sys.modules, 'torch', object())
    monkeypatch.setattr(os, 'environ', {})
    assert not wait_briefly()
    assert not os.environ


def test_libgomp_reads_it(run_command, monkeypatch):
    """torch's OpenMP is asked itself, which prints its settings when it is loaded."""
    for name in ('OMP_WAIT_POLICY', 'GOMP_SPINCOUNT'):
        monkeypatch.delenv(name, raising=False)
    code = 'import mmdensenet_cli.threads as t; t.wait_briefly(); import torch'
    done = run_command(sys.executable, '-c', code, OMP_DISPLAY_ENV='VERBOSE')
    if 'GOMP_SPINCOUNT' not in done.err:
        pytest.skip('torch has another OpenMP')
    assert f"GOMP_SPINCOUNT = '{SPIN_COUNT}'" in done.err
