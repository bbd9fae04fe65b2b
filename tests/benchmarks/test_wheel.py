"""The benchmark of an installed wheel finds nothing of the clone but benchmarks/."""

import os
import sys
from pathlib import Path

from benchmarks import wheel
from benchmarks.report import ROOT


def test_it_measures_in_a_folder_without_the_clone(monkeypatch, tmp_path):
    """With a wheel that is not built, and the environment of the tests in the place of the new one."""
    commands = []

    def run(*command, cwd=None):
        commands.append([str(part) for part in command])
        if '--wheel-dir' in command:
            (command[-2] / 'mmdensenet-1-py3-none-any.whl').touch()
        if cwd:
            assert os.listdir(cwd) == ['benchmarks'] and (cwd / 'benchmarks').resolve() == ROOT / 'benchmarks'

    monkeypatch.setattr(wheel, 'run', run)
    monkeypatch.setattr(wheel.venv, 'create', lambda folder, with_pip: None)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'argv', ['wheel', '--csv', 'rows.csv', '--arch', 'tiny'])
    wheel.main()
    build, install, origin, measure = commands
    assert build[-1] == str(ROOT) and install[-1].endswith('mmdensenet-1-py3-none-any.whl[lite,bench]')
    assert Path(origin[0]).parent.parent.name == 'env' == Path(measure[0]).parent.parent.name
    assert measure[1:] == ['-m', 'benchmarks', '--arch', 'tiny', '--csv', str(tmp_path / 'rows.csv')]


def test_variables_do_not_lead_to_the_clone(monkeypatch, capfd):
    monkeypatch.setenv('PYTHONPATH', str(ROOT))
    wheel.run(sys.executable, '-c', 'import os; print("PYTHONPATH" in os.environ)')
    assert capfd.readouterr().out == 'False\n'
