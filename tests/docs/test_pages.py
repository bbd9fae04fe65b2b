"""What the pages say exists: options, paths, names, links. tests/docs/test_commands.py runs the commands."""

import argparse
import importlib
import re
import runpy
import sys
from pathlib import Path

import pytest
from doc_pages import PAGES, ROOT, Command, PageError, blocks, commands, words
from mmengine.registry import Registry
from mmengine.registry import root as registries

from mmdensenet.compat import FAULTS
from mmdensenet_cli.main import COMMANDS

TOOLS = sorted((ROOT / 'tools').glob('*.py'))
TEXTS = {page: page.read_text(encoding='utf-8') for page in [*PAGES, ROOT / 'CONTRIBUTING.md', ROOT / 'CHANGELOG.md']}
#: which words of a script's arguments go to which tool
SCRIPTS = {
    'dist_train.sh': ('train.py', slice(0, 1), 2),
    'dist_test.sh': ('test.py', slice(0, 2), 3),
    'slurm_train.sh': ('train.py', slice(2, 3), 4),
    'slurm_test.sh': ('test.py', slice(2, 4), 4),
}
INLINE_CODE = re.compile(r'(?<!`)`([^`]+)`(?!`)')

per_page = pytest.mark.parametrize('page', PAGES, ids=lambda page: page.stem)


class ParsedError(Exception):
    """Ends a script as soon as it has read its arguments."""


def read_arguments(target: Path | str, arguments: list[str], monkeypatch) -> argparse.ArgumentParser:
    """Let a script (a path) or a module (a name) read these arguments, and nothing more; argparse exits on mistakes."""
    original = argparse.ArgumentParser.parse_args

    def parse_args(self, *args, **kwargs):
        original(self, *args, **kwargs)
        raise ParsedError(self)

    with monkeypatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, 'parse_args', parse_args)
        patch.setattr(sys, 'argv', [str(target), *arguments])
        with pytest.raises(ParsedError) as parsed:
            if isinstance(target, Path):
                runpy.run_path(str(target), run_name='__main__')
            else:
                runpy.run_module(target, run_name='__main__', alter_sys=True)
    return parsed.value.args[0]


def shown_commands(page: Path) -> list[Command]:
    return [command for block in blocks(page) if block.language != 'python' for command in commands(block)]


def check_arguments(command: str, monkeypatch) -> None:
    """Fail if a command names a program, an option or a target that does not exist."""
    parts = ['1' if part == 'N' else part for part in words(command)]
    while re.match(r'[A-Z_]+=', parts[0]):
        parts = parts[1:]
    for mark in ('>', '|', '&'):
        parts = parts[: parts.index(mark)] if mark in parts else parts
    program, *rest = parts
    if program == 'mmdensenet':
        read_arguments('mmdensenet', rest, monkeypatch)
    elif program == 'python' and rest[0] == '-m' and rest[1].startswith('benchmarks'):
        read_arguments(rest[1], rest[2:], monkeypatch)
    elif program == 'python' and rest[0].startswith('tools/'):
        read_arguments(ROOT / rest[0], rest[1:], monkeypatch)
    elif program == 'python' and rest[0] == '-c':
        compile(rest[1], command, 'exec')
    elif program == 'python':
        assert rest[0].endswith('.py'), command
    elif program == 'bash' and Path(rest[0]).name in SCRIPTS:
        tool, positional, first = SCRIPTS[Path(rest[0]).name]
        assert len(rest) > first, f'{command}: too few arguments'
        read_arguments(ROOT / 'tools' / tool, [*rest[1:][positional], *rest[1 + first :]], monkeypatch)
    elif program == 'make':
        targets = [part for part in rest if '=' not in part]
        assert targets
        for target in targets:
            assert re.search(rf'^{target}:', (ROOT / 'Makefile').read_text(), re.MULTILINE), f'no target {target}'
    elif program == 'pip':
        for extra in re.findall(r'\[([\w,]+)\]', command):
            for name in extra.split(','):
                assert (ROOT / f'requirements/{name}.txt').is_file(), f'no extra {name}'
    else:
        assert program in ('bash', 'curl', 'tensorboard', 'mkdir', 'cp', 'ls', '.', 'eval', 'trtexec'), (
            f'unknown program: {command}'
        )


@per_page
def test_arguments_of_commands_exist(page, monkeypatch, capsys):
    for command in shown_commands(page):
        try:
            check_arguments(command.text, monkeypatch)
        except (SystemExit, AssertionError) as error:
            pytest.fail(f'{command.block.place}: {command.text}\n{error}\n{capsys.readouterr().err}')


@per_page
def test_arguments_of_commands_inside_sentences_exist(page, monkeypatch, capsys):
    text = re.sub(r'\s+', ' ', re.sub(r'(?ms)^ *```.*?^ *```', '', TEXTS[page]))
    for command in INLINE_CODE.findall(text):
        if (
            re.match(rf'(python|make|bash|pip|mmdensenet ({"|".join(COMMANDS)})) [^|]', command)
            and '...' not in command
        ):
            try:
                check_arguments(command, monkeypatch)
            except (SystemExit, AssertionError) as error:
                pytest.fail(f'{page.name}: `{command}`\n{error}\n{capsys.readouterr().err}')


@pytest.mark.parametrize('tool', TOOLS, ids=lambda tool: tool.stem)
def test_every_option_of_a_tool_is_documented(tool, monkeypatch):
    captured = []

    def parse_args(self, *args, **kwargs):
        captured.append(self)
        raise ParsedError

    monkeypatch.setattr(argparse.ArgumentParser, 'parse_args', parse_args)
    with pytest.raises(ParsedError):
        runpy.run_path(str(tool), run_name='__main__')
    pages = '\n'.join(TEXTS[page] for page in PAGES)
    assert f'tools/{tool.name}' in pages
    about_it = '\n'.join(text for page, text in TEXTS.items() if page in PAGES and f'tools/{tool.name}' in text)
    for action in actions(captured[0]):
        if action.help == argparse.SUPPRESS or isinstance(action, argparse._HelpAction):
            continue
        if action.option_strings in (['--debug'], ['--verbose']):
            assert f'Every tool takes `{action.option_strings[0]}`' in pages
        else:
            assert any(option in about_it for option in action.option_strings), f'{tool.name} {action.option_strings}'


def actions(parser: argparse.ArgumentParser):
    """The options of a parser and of its sub-commands."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from actions(child)
        elif action.option_strings:
            yield action


FOLDERS = r'configs|tools|tests|mmdensenet|benchmarks|docs|requirements|\.ci|\.github'
PATH = re.compile(rf'(?<![\w/.:-])((?:{FOLDERS})/[\w./*-]+)')


@pytest.mark.parametrize('page', TEXTS, ids=lambda page: page.stem)
def test_paths_of_the_repository_exist(page):
    text = re.sub(r'\{(\w+),[^}]*\}', r'\1', TEXTS[page])  # data/{train,val}
    for path in set(PATH.findall(text)):
        path = path.rstrip('./')
        if re.search(r'[A-Z_]{4,}', Path(path).name) or path.startswith('docs/_build'):  # NAME, or what is built
            continue
        assert list(ROOT.glob(path)), f'{page.name}: {path} does not exist'


@pytest.mark.parametrize('page', TEXTS, ids=lambda page: page.stem)
def test_internal_links_lead_somewhere(page):
    """Sphinx checks docs/, but not the pages that only the repository's site shows."""
    for target in re.findall(r'\]\(([^)\s]+)\)', TEXTS[page]):
        name, _, anchor = target.partition('#')
        if '://' not in target:
            file = page.parent / name if name else page
            assert file.exists(), f'{page.name}: {target}'
            assert not anchor or anchor in anchors(file), f'{page.name}: {target}'


def anchors(page: Path) -> set[str]:
    """Those of a page's headings, as the repository's site makes them, and MyST."""
    text = re.sub(r'(?ms)^ *```.*?^ *```', '', page.read_text(encoding='utf-8'))
    titles = re.findall(r'(?m)^#+ (.+)$', text)
    return {re.sub(r'[^\w -]', '', title.lower()).replace(' ', '-') for title in titles}


def test_make_linkcheck_follows_every_external_link():
    """It reads docs/ only, so what the other pages link to has to be there too."""
    links = {page: set(re.findall(r'\]\((https?://[^)\s]+)\)', text)) for page, text in TEXTS.items()}
    checked = set().union(*(found for page, found in links.items() if page.parent.name == 'docs'))
    checked |= links[ROOT / 'CHANGELOG.md']  # docs/changelog.md includes it
    for page, found in links.items():
        assert found <= checked, f'{page.name}: {found - checked}'


@pytest.mark.parametrize('page', TEXTS, ids=lambda page: page.stem)
def test_names_and_configs_exist(page):
    """`mmdensenet.X` is a module, something in one, or registered; `mmdensenet::X` is a config."""
    for name in set(re.findall(r'(?<![\w/.])mmdensenet(?:\.\w+)+', TEXTS[page])):
        assert exists(name), f'{page.name}: {name}'
    for name in set(re.findall(r'mmdensenet::([\w./-]+)', TEXTS[page])):
        name = name.rstrip('.').removesuffix('.py')
        if len(name) > 1 and not re.search(r'[A-Z]', name):
            assert (ROOT / 'configs' / f'{name}.py').is_file(), f'{page.name}: mmdensenet::{name}'


def exists(name: str) -> bool:
    parts = name.split('.')
    ours = [entry.children.get('mmdensenet') for entry in vars(registries).values() if isinstance(entry, Registry)]
    for registry in filter(None, ours):
        registry.import_from_location()
        if len(parts) == 2 and parts[1] in registry.module_dict:
            return True
    for count in range(len(parts), 0, -1):
        try:
            found = importlib.import_module('.'.join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('```sh\nls\n```\n', 'unknown language'),
        ('```\nls\n```\n', 'unknown language'),
        ('```bash\nls\n', 'does not end'),
        ('<!-- not run: -->\n```bash\nls\n```\n', 'no reason'),
        ('<!-- run with (ls): -->\n```bash\nls\n```\n', 'no reason'),
        ('<!-- not runn: needs a GPU -->\n```bash\nls\n```\n', 'unknown comment'),
        ('<!-- not run: needs\n a GPU -->\n```bash\nls\n```\n', 'end on its line'),
        ('<!-- not run: needs a GPU -->\ntext\n', 'just before a block'),
        ('<!-- not run: needs a GPU -->\n', 'at its end'),
        ('<!-- not run (cp): needs a GPU -->\n```bash\nls\n```\n', 'no command contains'),
        ('<!-- not run: needs a GPU -->\n```text\nls\n```\n', 'nothing to run'),
    ],
)
def test_pages_that_are_refused(text, message, tmp_path):
    page = tmp_path / 'page.md'
    page.write_text(text)
    with pytest.raises(PageError, match=message):
        blocks(page)


@pytest.mark.parametrize(
    'command',
    [
        'python tools/train.py CONFIG --no-such-option',
        'python tools/train.py',
        'python tools/no_such_tool.py CONFIG',
        'bash tools/dist_train.sh CONFIG 2 --no-such-option',
        'make no-such-target',
        'pip install -e ".[no_such_extra]"',
        'rm CONFIG',
        'python -m benchmarks --arch 122',
    ],
)
def test_commands_that_are_refused(command, monkeypatch):
    with pytest.raises((SystemExit, AssertionError, FileNotFoundError)):
        check_arguments(command, monkeypatch)


def test_synopsis_and_markers():
    assert words('python x.py IMAGE... --model M [flags]  # comment') == ['python', 'x.py', 'IMAGE', '--model', 'M']
    assert words('a --format onnx|openvino [--int8 [--calib N]] key="[1,2]"') == ['a', '--format', 'onnx', 'key=[1,2]']


def test_every_repair_is_in_the_table():
    text = (
        TEXTS[ROOT / 'docs' / 'compatibility.md'].split('## What importing mmdensenet repairs\n')[1].split('\n## ')[0]
    )
    rows = [line for line in text.splitlines() if line.startswith('| ')]
    assert sorted(rows[2:]) == sorted(f'| {fault.what} | {fault.versions} | {fault.until} |' for fault in FAULTS)


def test_api_pages_are_of_what_is_named():
    conf = runpy.run_path(str(ROOT / 'docs' / 'conf.py'))
    public, named = conf['PUBLIC'], conf['NAMED']
    assert {'mmdensenet.apis', 'mmdensenet.apis.verify', 'mmdensenet.errors', 'mmdensenet.training.hooks'} < public
    assert public.isdisjoint({'mmdensenet.apis.runner', 'mmdensenet.similar', 'mmdensenet.checkpoints.archive'})
    for module in public:
        is_package = hasattr(importlib.import_module(module), '__path__')
        assert is_package or any(name.startswith(f'{module}.') for name in named)
