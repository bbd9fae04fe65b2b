"""mmdensenet configs: what is listed, and that a copy is the same config."""

import ast

import pytest
from conftest import CONFIGS
from mmengine.config import Config

from mmdensenet_cli.answer import CommandError
from mmdensenet_cli.config_files import config_folder, config_names
from mmdensenet_cli.configs import inherit_installed
from mmdensenet_cli.main import main


def test_list(capsys):
    main(['configs', 'list'])
    lines = capsys.readouterr().out.splitlines()
    assert sorted(line.split()[0] for line in lines) == sorted(file.stem for file in CONFIGS.glob('*.py'))
    assert all(len(line.split()) > 3 for line in lines), 'each says what it is'
    main(['configs', 'list', 'cifar100', 'bc'])
    some = capsys.readouterr().out.splitlines()
    wanted = [line.split()[0] for line in lines if 'cifar100' in line.split()[0] and 'bc' in line.split()[0]]
    assert [line.split()[0] for line in some] == wanted != []


# a list of bases; one, whose variables are read by name; one with variables in the place of values
INHERITING = ['densenet121_4xb256_in1k', 'rdnet-large-384_8xb64_in1k', 'densenet121_1xb32_folder']


def without_scopes(value):
    """What is inherited from a package says its scope, which is also the default one of these configs."""
    if isinstance(value, dict):
        assert value.get('_scope_', 'mmpretrain') == 'mmpretrain'
        return {key: without_scopes(item) for key, item in value.items() if key != '_scope_'}
    return [without_scopes(item) for item in value] if isinstance(value, (list, tuple)) else value


@pytest.mark.parametrize('name', INHERITING)
def test_a_copy_is_the_same_config(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    main(['configs', 'copy', f'mmdensenet::{name}'])
    assert capsys.readouterr().out == f'{name}.py is a copy of mmdensenet::{name}\n'
    copy = Config.fromfile(f'{name}.py')
    assert copy.default_scope == 'mmpretrain'
    assert without_scopes(copy.to_dict()) == without_scopes(Config.fromfile(CONFIGS / f'{name}.py').to_dict())


@pytest.mark.parametrize('name', config_names())
def test_every_base_of_a_copy_is_an_installed_one(name):
    copied = inherit_installed((CONFIGS / f'{name}.py').read_text())
    [bases] = [node.value for node in ast.parse(copied).body if ast.unparse(node).startswith('_base_ = ')]
    for base in [node.value for node in ast.walk(bases) if isinstance(node, ast.Constant)]:
        package, _, path = base.partition('::')
        assert package == 'mmdensenet' and (config_folder() / path).is_file()


def test_the_copy_s_commands_name_the_copy(tmp_path):
    target = tmp_path / 'mine.py'
    main(['configs', 'copy', 'bc-l22', str(target)])
    assert f'mmdensenet train {target}\n' in target.read_text()


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('copy', 'densenet161_4'), 'densenet161_4 may be densenet161_4xb256_in1k, densenet161_4xb64_in1k: give more'),
        (('copy', 'densenet'), ' and 50 more: give more of the name.'),
        (('copy', 'densnet121_4xb64_in1k'), 'no config densnet121_4xb64_in1k. Did you mean densenet121_4xb64_in1k?'),
        (('copy', 'zzz'), '`mmdensenet configs list` shows all'),
        (('copy', 'csv', 'mine.txt'), 'mine.txt: the name of a config ends in .py'),
        (('copy', 'csv', 'no/mine.py'), 'no/mine.py cannot be written: No such file or directory'),
        (('copy', 'csv', 'there.py'), 'there.py is there already'),
        (('list', 'zzz', 'in1k'), 'no config has zzz and in1k in its name'),
    ],
)
def test_mistakes(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'there.py').write_text('mine')
    with pytest.raises(SystemExit) as stop:
        main(['configs', *arguments])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ['there.py'] and (tmp_path / 'there.py').read_text() == 'mine'


def test_without_configs(monkeypatch):
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    with pytest.raises(CommandError, match='install it again'):
        config_folder()
