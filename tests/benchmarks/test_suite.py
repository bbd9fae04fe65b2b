"""The commands, on a tiny model."""

import pickle
import runpy
import sys
from functools import partial

import pytest
from benchmark_jobs import hold
from helpers import read_csv

from benchmarks.architectures import ARCHITECTURES
from benchmarks.cases import Case, job
from benchmarks.measure import Job, take_turns


@pytest.fixture
def run(monkeypatch, capsys):
    """Run ``python -m MODULE ARGUMENTS`` in this process; what it prints, or raise how it ends."""

    def run_module(module, *arguments):
        name = module if '.' in module else f'{module}.__main__'
        monkeypatch.delitem(sys.modules, name, raising=False)
        monkeypatch.setattr(sys, 'argv', [module, *map(str, arguments)])
        runpy.run_module(name, run_name='__main__')
        return capsys.readouterr().out

    return run_module


@pytest.mark.parametrize(
    'module', ['benchmarks', 'benchmarks.depth', 'benchmarks.machine', 'benchmarks.traffic', 'benchmarks.gpu_session']
)
def test_help(run, capsys, module):
    with pytest.raises(SystemExit, match=r'^0$'):
        run(module, '--help')
    assert f'python -m {module}' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--candidates', 'keras'], r'no candidate is named keras(.|\n)*torchvision channels_last'),
        (['--only', '122-*'], r'no case is named 122-\*'),
    ],
)
def test_unknown_names_are_answered_with_the_known(run, arguments, message):
    with pytest.raises(SystemExit, match=message):
        run('benchmarks', '--device', 'cpu', '--list', *arguments)


def test_whole_run(run, tmp_path):
    """Its jobs in this process; those of processes of their own are below."""
    file = tmp_path / 'cpu.csv'
    names = ['torchvision', 'mmdensenet fused, plain torch']
    command = ['--device', 'cpu', '--csv', file, '--candidates', *names, '--one-process', '--turn-seconds', '0']
    out = run('benchmarks', *command, '--arch', 'tiny', '--batch', '2', '--size', '32', '--rounds', '1')
    assert 'other model' not in out
    assert 'speed (times) and memory (share)' in out
    rows = read_csv(file)
    assert [row['candidate'] for row in rows] == names
    for row in rows:
        assert int(row['parameters']) == ARCHITECTURES['tiny'].parameters
        assert row['steps'] == '1'
        assert float(row['seconds_median']) > 0
        assert float(row['machine_gflops']) > 0
        assert row['compile_seconds'] == ''


def test_jobs_can_be_sent_to_a_process():
    sent = job('torchvision', Case('tiny', 2, 32), 'cpu')
    assert pickle.loads(pickle.dumps(sent)).prepare.args == sent.prepare.args


def test_jobs_take_turns_and_report_memory():
    """Parts of the whole run that can be wrong without showing: environment, memory, what failed."""
    told = []
    yes = dict(BENCHMARK_TEST='yes')
    jobs = {'held': Job(partial(hold, 64), yes), 'unavailable': Job(partial(hold, 64))}
    results = take_turns(jobs, rounds=2, threads=1, turn_seconds=0, tell=told.append)
    assert told == ['without unavailable: nobody set it']
    assert list(results) == ['held']
    measured = results['held']
    assert measured.facts == dict(mib=64)
    assert len(measured.seconds) == 2
    if measured.peak_mib is not None:  # Linux; what ran before leaves a little
        assert 60 < measured.peak_mib < 90
