"""torchrun with its workers' exit codes, on scripts that need no mmpretrain."""

import sys

import pytest


def launch(run_command, tmp_path, code, *arguments, **kwargs):
    script = tmp_path / 'worker.py'
    script.write_text(code)
    endpoint = ('--rdzv-backend=c10d', '--rdzv-endpoint=127.0.0.1:0', '--local-addr=127.0.0.1')
    return run_command(
        sys.executable,
        '-m',
        'mmdensenet.training.launch',
        '--nproc-per-node=2',
        *endpoint,
        *arguments,
        script,
        **kwargs,
    )


@pytest.mark.parametrize(
    ('code', 'status', 'message'),
    [
        ('import sys, os; sys.exit(7 if os.environ["RANK"] == "1" else 0)', 7, 'rank 1 ended with status 7'),
        ('import os, signal; os.kill(os.getpid(), signal.SIGKILL)', 137, 'was killed by signal 9'),
    ],
    ids=['status', 'signal'],
)
def test_passes_on_the_exit_code(run_command, tmp_path, code, status, message):
    done = launch(run_command, tmp_path, code)
    assert done.status == status
    assert message in done.err
    assert 'Traceback' not in done.err


def test_restarts_workers(run_command, tmp_path):
    code = f"""
import os, sys, pathlib
pathlib.Path({str(tmp_path)!r}, f"{{os.environ['RANK']}}-{{os.environ['TORCHELASTIC_RESTART_COUNT']}}").touch()
sys.exit(os.environ["RANK"] == "0" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0")
"""
    done = launch(run_command, tmp_path, code, '--max-restarts=1')
    assert done.status == 0, done.err
    assert {file.name for file in tmp_path.glob('?-?')} >= {'0-0', '0-1', '1-1'}
