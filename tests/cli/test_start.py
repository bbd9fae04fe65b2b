"""A command and its tool are the same program under two names."""

import argparse
import json
import runpy
import sys

import pytest
from conftest import DIGITS, TOOLS

from mmdensenet_cli import answer, start
from mmdensenet_cli.main import COMMANDS, main

TOOL_NAMES = {'convert': 'convert_checkpoint', 'verify': 'verify_dataset'}
WITH_TOOL = [command for command in COMMANDS if command not in ('configs', 'info')]


def test_every_tool_has_a_command():
    tools = {file.stem for file in TOOLS.glob('*.py')} - {'build_kernels'}
    assert tools == {TOOL_NAMES.get(command, command) for command in WITH_TOOL}


@pytest.mark.parametrize('command', WITH_TOOL)
def test_a_tool_starts_its_command(command, monkeypatch, capsys):
    """With its own name in the usage, and the same arguments."""
    tool = f'{TOOL_NAMES.get(command, command)}.py'
    monkeypatch.setattr(sys, 'argv', [tool, '--help'])
    with pytest.raises(SystemExit):
        runpy.run_path(str(TOOLS / tool), run_name='__main__')
    of_tool = capsys.readouterr().out
    with pytest.raises(SystemExit):
        main([command, '--help'])
    of_command = capsys.readouterr().out
    assert of_tool.startswith(f'usage: {tool} ') and of_command.startswith(f'usage: mmdensenet {command} ')
    # the usage's lines break elsewhere
    assert of_tool.split()[2:] == of_command.split()[3:]


def test_a_command_runs(capfd):
    main(['complexity', str(DIGITS), '--no-measure', '--json'])
    assert json.loads(capfd.readouterr().out)['parameters'] == 71254


@pytest.mark.parametrize('arguments', [('train', 'missing.py'), ('test', 'missing.py', 'x.pth')])
def test_a_mistake_has_status_2(arguments, capfd):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert capfd.readouterr().err == 'error: config missing.py does not exist.\n'


@pytest.mark.parametrize('command', ['info', 'convert'])
def test_ctrl_c_has_status_130(command, monkeypatch, capsys):
    """Also while it imports, which is when people find that they have typed something wrong."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr('mmdensenet_cli.info.run', interrupt)
    monkeypatch.setattr(start, 'Importing', interrupt)
    with pytest.raises(SystemExit) as stop:
        start.start(command, ['a.pth', 'b.pth'] if command == 'convert' else [])
    assert (stop.value.code, capsys.readouterr().err) == (130, 'interrupted\n')


@pytest.mark.parametrize(
    ('error', 'lines'),
    [
        (ImportError('mmdensenet needs mmengine: pip install "mmdensenet[lite]".'), ['mmdensenet needs mmengine: pip']),
        (RuntimeError('no home\ndirectory'), ['mmdensenet cannot be imported: RuntimeError: no home directory', '`mm']),
        (DeprecationWarning('old'), ['mmdensenet cannot be imported: DeprecationWarning: old', 'Leave PYTHONWARNINGS']),
    ],
)
def test_an_installation_that_cannot_be_imported(error, lines, monkeypatch, capsys):
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(start, 'Importing', fail)
    with pytest.raises(SystemExit) as stop:
        start.start('convert', ['a.pth', 'b.pth'])
    told = capsys.readouterr().err.removeprefix('error: ').splitlines()
    assert stop.value.code == 2 and len(told) == len(lines)
    assert all(line.startswith(begin) for line, begin in zip(told, lines))
    with pytest.raises(type(error)):
        start.start('convert', ['a.pth', 'b.pth', '--debug'])


def test_a_mistake_without_mmdensenet(monkeypatch, capsys):
    def run(args: argparse.Namespace) -> None:
        raise answer.CommandError('no such thing.')

    monkeypatch.setattr('mmdensenet_cli.info.run', run)
    with pytest.raises(SystemExit) as stop:
        start.start('info', [])
    assert (stop.value.code, capsys.readouterr().err) == (2, 'error: no such thing.\n')


def test_a_reader_that_ends_early(run_command):
    command = f'{sys.executable} -c "from mmdensenet_cli.main import main; main()" configs list | true'
    done = run_command('bash', '-o', 'pipefail', '-c', command)
    assert (done.status, done.err) == (0, '')


def test_size_takes_two_numbers_at_most(capsys):
    with pytest.raises(SystemExit) as stop:
        main(['complexity', 'c.py', '--size', '1', '2', '3'])
    assert stop.value.code == 2
    assert capsys.readouterr().err.endswith('error: --size takes one number, or height and width\n')
