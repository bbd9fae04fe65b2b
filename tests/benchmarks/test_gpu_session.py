"""The session on a borrowed GPU: what fails or takes too long ends alone, and the next call goes on."""

import sys

import pytest

from benchmarks import gpu_session
from benchmarks.gpu_session import SLICES, Step, read_state, steps


@pytest.fixture
def session(tmp_path, monkeypatch):
    """Run a session of these (name, Python code, limit); returns the names that ran and the state afterwards."""

    def run(commands, *args, skip=None):
        made = [
            Step('tests', name, [sys.executable, '-c', code], limit, {}, (skip or {}).get(name, lambda: None))
            for name, code, limit in commands
        ]
        monkeypatch.setattr(gpu_session, 'steps', lambda folder, dry: made)
        monkeypatch.setattr(sys, 'argv', ['gpu_session', '--folder', str(tmp_path), *args])
        gpu_session.main()
        return read_state(tmp_path)

    return run


def test_a_failure_ends_alone_and_what_is_done_is_not_repeated(session, tmp_path, capsys):
    commands = [
        ('bad', 'raise SystemExit("no such card")', 90),
        ('slow', 'import time; print("begun", flush=True); time.sleep(60)', 0.5),
        ('absent', 'print("never")', 90),
        ('broken', 'print("never")', 90),
        ('good', 'print("result")', 90),
    ]

    def broken():
        raise OSError('no driver')

    skip = dict(absent=lambda: 'ncu is not installed', broken=broken)
    state = session(commands, skip=skip)
    assert {name: outcome['how'] for name, outcome in state.items()} == dict(
        bad='failed', slow='too long', absent='skipped', broken='skipped', good='done'
    )
    assert state['bad']['reason'] == 'no such card' and state['absent']['reason'] == 'ncu is not installed'
    assert state['broken']['reason'] == 'OSError: no driver'
    assert (tmp_path / 'slow.log').read_text().endswith('begun\n')
    assert (tmp_path / 'good.log').read_text().endswith('result\n')
    capsys.readouterr()
    session(commands, skip=skip)
    assert capsys.readouterr().out == ''
    session(commands[-1:], '--again')
    assert 'good: done' in capsys.readouterr().out
    assert (tmp_path / 'good.log').read_text().count('\nresult\n') == 2


def test_what_the_sessions_end_cuts_short_runs_again(session, capsys):
    commands = [('first', 'print("short")', 0.9), ('long', 'import time; time.sleep(60)', 60), ('last', '', 60)]
    state = session(commands, '--seconds', '3', '--dry')
    assert list(state) == ['first']
    assert 'long: cut short, again next time' in capsys.readouterr().out
    # too little time to begin
    session(commands, '--seconds', '3')
    assert 'long: 3 s left, next time' in capsys.readouterr().out


@pytest.mark.parametrize('dry', [False, True])
def test_steps_are_in_the_order_of_their_worth(dry, tmp_path):
    made = steps(tmp_path, dry)
    assert list(dict.fromkeys(step.slice for step in made)) == list(SLICES)
    assert len({step.name for step in made}) == len(made)
    # a call may take nine minutes
    assert all(0 < step.limit <= 540 for step in made)


@pytest.mark.slow
def test_dry_session(run_command, tmp_path):
    command = sys.executable, '-m', 'benchmarks.gpu_session', '--dry', '--folder', tmp_path
    outcome = run_command(*command)
    assert outcome.status == 0, outcome.err
    state = read_state(tmp_path)
    assert {result['how'] for result in state.values()} == {'done'}, outcome.out
    assert len(state) == len(steps(tmp_path, dry=True))
