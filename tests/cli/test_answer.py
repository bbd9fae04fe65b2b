"""Standard streams that are closed or full, and Ctrl-C while a command imports."""

import os
import signal
import sys

import pytest

from mmdensenet_cli.answer import answer, ending_at_ctrl_c


@pytest.mark.parametrize('closed', ['>&-', '2>&-', '<&- >&- 2>&-'])
def test_closed_streams_stay_closed_to_files(closed, run_command, tmp_path):
    """A file that is opened next would have the number of the stream, and get what is printed."""
    code = 'from mmdensenet_cli import main; main.main(["configs", "list"]); '
    code += 'import os; file = open("kept", "w"); os.write(1, b"out"); os.write(2, b"err")'
    done = run_command('bash', '-c', f"{sys.executable} -c '{code}' {closed}", cwd=tmp_path, PYTHONPATH='')
    assert done.status == 0, done.err
    assert (tmp_path / 'kept').read_bytes() == b''


@pytest.mark.parametrize('arguments', ['--help', '--version', 'configs list'])
def test_an_output_that_is_full(arguments, run_command):
    if not os.path.exists('/dev/full'):
        pytest.skip('the system has no /dev/full')
    command = f'{sys.executable} -c "from mmdensenet_cli.main import main; main()" {arguments} > /dev/full'
    done = run_command('bash', '-c', command)
    assert done.status == 2
    assert done.err == 'error: standard output: No space left on device.\n'


def test_a_file_that_cannot_be_read(capsys):
    with pytest.raises(SystemExit) as stop:
        answer(lambda: os.listdir('/no/such'))
    assert (stop.value.code, capsys.readouterr().err) == (2, 'error: /no/such: No such file or directory.\n')


def test_ctrl_c_that_an_import_would_swallow(run_command):
    code = """
import os, signal
from mmdensenet_cli.answer import ending_at_ctrl_c
signal.signal(signal.SIGINT, signal.default_int_handler)
with ending_at_ctrl_c(True):
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:
        pass
print('went on')
"""
    done = run_command(sys.executable, '-c', code)
    assert (done.status, done.out, done.err) == (130, '', 'interrupted\n')


def test_ctrl_c_is_pythons_again_and_a_caller_keeps_its_own():
    before = signal.getsignal(signal.SIGINT)
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with ending_at_ctrl_c(True):
            assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
        with ending_at_ctrl_c(False):
            assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with ending_at_ctrl_c(True):
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
