"""The command: its help, its commands, what it says of others, what a shell completes."""

import re
import runpy
import sys
from pathlib import Path

import pytest

import mmdensenet
import mmdensenet_cli
from mmdensenet_cli.main import COMMANDS, main

HEAVY = """
import sys
from mmdensenet_cli.main import COMMANDS, main

main(['--help'])
assert 'argparse' not in sys.modules
for command in COMMANDS:
    try:
        main([command, '--help'])
    except SystemExit as stop:
        assert stop.code == 0, command
    heavy = {'torch', 'numpy', 'mmengine', 'mmdensenet'} & set(sys.modules)
    assert not heavy, (command, heavy)
main(['configs', 'list'])
assert 'mmdensenet' not in sys.modules
"""


def test_no_help_imports_what_is_heavy(run_command):
    done = run_command(sys.executable, '-c', HEAVY)
    assert done.status == 0, done.err
    for command in COMMANDS:
        assert f'usage: mmdensenet {command} ' in done.out


def test_help_has_a_line_for_each_command(capsys):
    main(['--help'])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 100
    for command in COMMANDS:
        assert sum(line.startswith(f'  {command} ') for line in lines) == 1
    examples = [line.split() for line in lines[lines.index('examples:') + 1 :]]
    assert [words[1] for words in examples] == ['train', 'predict']


def test_help_of_a_command(capsys):
    with pytest.raises(SystemExit) as stop:
        main(['help', 'train'])
    assert stop.value.code == 0 and capsys.readouterr().out.startswith('usage: mmdensenet train ')


@pytest.mark.parametrize('option', ['--version', '-V'])
def test_version(option, capsys):
    main([option])
    assert capsys.readouterr().out.startswith(f'mmdensenet {mmdensenet.__version__}, ')


def test_every_module_with_arguments_is_a_command():
    folder = Path(mmdensenet_cli.__file__).parent
    with_arguments = {file.stem for file in folder.glob('*.py') if re.search(r'^def run\(', file.read_text(), re.M)}
    assert with_arguments == set(COMMANDS)


@pytest.mark.parametrize(
    ('name', 'hint'),
    [
        ('trian', 'Did you mean train?'),
        ('convert_checkpoint', 'Did you mean convert?'),  # the tool's name
        ('verify_dataset', 'Did you mean verify?'),
        ('conf', 'Did you mean configs?'),
        ('--debug', 'There are fit, train,'),
        ('', 'There are fit, train,'),
    ],
)
def test_an_unknown_command_names_the_nearest(name, hint, capsys):
    with pytest.raises(SystemExit) as stop:
        main([name])
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert f'there is no command {name!r}. {hint}' in said and len(said.splitlines()) == 1


def test_without_a_command_its_help_is_the_error(capsys):
    with pytest.raises(SystemExit) as stop:
        main([])
    out, err = capsys.readouterr()
    assert (stop.value.code, out) == (2, '') and err.startswith('usage: mmdensenet COMMAND')


def test_as_a_module(monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['mmdensenet', '--help'])
    runpy.run_module('mmdensenet', run_name='__main__')
    assert capsys.readouterr().out.startswith('usage: mmdensenet COMMAND')


@pytest.mark.parametrize(
    ('line', 'offered', 'not_offered'),
    [
        ('mmdensenet tr', {'train'}, {'test'}),
        ('mmdensenet train --no-', {'--no-validate', '--no-pin-memory'}, {'--amp'}),
        ('mmdensenet train mmdensenet::rdnet-s', {'mmdensenet::rdnet-small_8xb64_in1k'}, {'rdnet-small_8xb64_in1k'}),
        ('mmdensenet configs copy densenet201_', {'densenet201_4xb64_in1k'}, {'densenet201-288_4xb256_in1k'}),
    ],
)
def test_completion(line, offered, not_offered, run_command, tmp_path):
    pytest.importorskip('argcomplete')
    answer = tmp_path / 'answer'
    done = run_command(
        *(sys.executable, '-c', 'from mmdensenet_cli.main import main; main()'),
        _ARGCOMPLETE='1',
        _ARGCOMPLETE_IFS='\n',
        _ARGCOMPLETE_COMP_WORDBREAKS=' ',
        _ARGCOMPLETE_STDOUT_FILENAME=str(answer),
        COMP_LINE=line,
        COMP_POINT=str(len(line)),
    )
    words = {word.strip() for word in answer.read_text().split('\n')}
    assert done.status == 0, done.err
    assert offered <= words and not not_offered & words
