"""The commands, in processes of their own, on a tiny model."""

import csv
import sys
from functools import partial

import pytest
from benchmark_jobs import hold

from benchmarks.architectures import ARCHITECTURES
from benchmarks.measure import Job, take_turns


@pytest.mark.parametrize(
    'module', ['benchmarks', 'benchmarks.depth', 'benchmarks.machine', 'benchmarks.traffic', 'benchmarks.gpu_session']
)
def test_help(run_command, module):
    outcome = run_command(sys.executable, '-m', module, '--help')
    assert outcome.status == 0, outcome.err
    assert f'python -m {module}' in outcome.out


def test_unknown_names_are_answered_with_the_known(run_command):
    command = (sys.executable, '-m', 'benchmarks', '--device', 'cpu', '--list')
    outcome = run_command(*command, '--candidates', 'keras')
    assert outcome.status == 1
    assert 'no candidate is named keras' in outcome.err
    assert 'torchvision channels_last' in outcome.err
    outcome = run_command(*command, '--only', '122-*')
    assert outcome.status == 1
    assert 'no case is named 122-*' in outcome.err


def test_whole_run(run_command, tmp_path):
    file = tmp_path / 'cpu.csv'
    names = ['torchvision', 'mmdensenet fused, plain torch']
    command = [sys.executable, '-m', 'benchmarks', '--device', 'cpu', '--csv', file, '--candidates', *names]
    command += ['--arch', 'tiny', '--batch', '2', '--size', '32', '--rounds', '1', '--threads', '1']
    outcome = run_command(*command, '--turn-seconds', '0')
    assert outcome.status == 0, outcome.err
    assert 'other model' not in outcome.out
    assert 'speed (times) and memory (share)' in outcome.out
    with file.open(newline='') as lines:
        rows = list(csv.DictReader(lines))
    assert [row['candidate'] for row in rows] == names
    for row in rows:
        assert int(row['parameters']) == ARCHITECTURES['tiny'].parameters
        assert row['steps'] == '1'
        assert float(row['seconds_median']) > 0
        assert float(row['machine_gflops']) > 0
        assert row['compile_seconds'] == ''


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
