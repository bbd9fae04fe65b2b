"""torchrun with its workers' exit codes, on scripts that need no mmpretrain."""

import sys

import pytest
from support.forks import fork, wait

from mmdensenet.training.launch import main


def launch(tmp_path, code, *arguments):
    """The status and the output; `python -m` with the module is in tests/tools/test_distributed.py."""
    (tmp_path / 'worker.py').write_text(code)
    endpoint = ('--rdzv-backend=c10d', '--rdzv-endpoint=127.0.0.1:0', '--local-addr=127.0.0.1')
    command = ['--nproc-per-node=2', *endpoint, *arguments, str(tmp_path / 'worker.py')]
    [status] = wait([fork(lambda: sys.exit(main(command)), tmp_path / 'out.txt')])
    return status, (tmp_path / 'out.txt').read_text()


@pytest.mark.parametrize(
    ('code', 'status', 'message'),
    [
        ('import sys, os; sys.exit(7 if os.environ["RANK"] == "1" else 0)', 7, 'rank 1 ended with status 7'),
        pytest.param(
            'import os, signal; os.kill(os.getpid(), signal.SIGKILL)',
            137,
            'was killed by signal 9',
            marks=pytest.mark.slow,
        ),
    ],
    ids=['status', 'signal'],
)
def test_passes_on_the_exit_code(tmp_path, code, status, message):
    found, printed = launch(tmp_path, code)
    assert found == status, printed
    assert message in printed
    assert 'Traceback' not in printed


@pytest.mark.slow
def test_restarts_workers(tmp_path):
    code = f"""
import os, sys, pathlib
pathlib.Path({str(tmp_path)!r}, f"{{os.environ['RANK']}}-{{os.environ['TORCHELASTIC_RESTART_COUNT']}}").touch()
sys.exit(os.environ["RANK"] == "0" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0")
"""
    status, printed = launch(tmp_path, code, '--max-restarts=1')
    assert status == 0, printed
    assert {file.name for file in tmp_path.glob('?-?')} >= {'0-0', '0-1', '1-1'}
