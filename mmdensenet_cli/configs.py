"""List the configs that mmdensenet comes with, or copy one to change it."""

import argparse
import ast
import difflib
import re
from pathlib import Path

from .answer import CommandError
from .config_files import config_folder, config_names

STANDALONE = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    text = 'their names with what they are, one a line'
    listing = commands.add_parser('list', help=text, description=f'{text[0].upper()}{text[1:]}.')
    words = listing.add_argument('words', nargs='*', metavar='WORD', help='only names that contain all of these')
    text = 'write one to a file of your own, which inherits what the config inherits'
    copy = commands.add_parser('copy', help=text, description=f'{text[0].upper()}{text[1:]}.')
    name = copy.add_argument('name', metavar='NAME', help='as listed, or as much of it as is enough')
    copy.add_argument('target', nargs='?', default='.', metavar='FILE', help='file or folder (NAME.py, here)')
    words.completer = name.completer = lambda **_: config_names()


def run(args: argparse.Namespace) -> None:
    if args.command == 'list':
        list_configs(args.words)
    else:
        copy_config(args.name, Path(args.target))


def list_configs(words: list[str]) -> None:
    names = [name for name in config_names() if all(word in name for word in words)]
    if not names:
        raise CommandError(f'no config has {" and ".join(words)} in its name.')
    width = max(map(len, names)) + 2
    for name in names:
        print(f'{name:{width}}{summary(config_folder() / f"{name}.py")}')


def summary(file: Path) -> str:
    """Return the first line of a config's docstring."""
    return (ast.get_docstring(ast.parse(file.read_text(encoding='utf-8'))) or '').partition('\n')[0]


def copy_config(name: str, target: Path) -> None:
    name = complete_name(name.removeprefix('mmdensenet::').removesuffix('.py'))
    if target.is_dir():
        target = target / f'{name}.py'
    if target.suffix != '.py':
        raise CommandError(f'{target}: the name of a config ends in .py.')
    text = inherit_installed((config_folder() / f'{name}.py').read_text(encoding='utf-8'))
    try:
        with target.open('x', encoding='utf-8') as file:
            text = text.replace(f'configs/{name}.py', target.as_posix())
            file.write(re.sub(r'python tools/(train|test)\.py', r'mmdensenet \1', text))  # a wheel has no tools
    except FileExistsError:
        raise CommandError(f'{target} is there already: remove it, or name another file.') from None
    except OSError as error:
        raise CommandError(f'{target} cannot be written: {error.strerror}.') from None
    print(f'{target} is a copy of mmdensenet::{name}')


def complete_name(begun: str) -> str:
    """Return the config name that begins so, else the only one that contains it.

    Raises:
        CommandError: if several do, or none; it names them, or the nearest.
    """
    names = config_names()
    if begun in names:
        return begun
    found = [name for name in names if name.startswith(begun)] or [name for name in names if begun in name]
    if len(found) == 1:
        return found[0]
    if found:
        more = f' and {len(found) - 8} more' if len(found) > 8 else ''
        raise CommandError(f'{begun} may be {", ".join(found[:8])}{more}: give more of the name.')
    close = difflib.get_close_matches(begun, names, n=1)
    hint = f'Did you mean {close[0]}?' if close else '`mmdensenet configs list` shows all.'
    raise CommandError(f'there is no config {begun}. {hint}')


def inherit_installed(text: str) -> str:
    """Return the text of a config that inherits from the files of the installed mmdensenet.

    >>> inherit_installed("_base_ = ['_base_/models/densenet121.py']")
    "_base_ = ['mmdensenet::_base_/models/densenet121.py']"
    """
    lines = text.splitlines(keepends=True)
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == '_base_':
            for base in ast.walk(node.value):
                if isinstance(base, ast.Constant):  # each on one line, in ASCII
                    line = lines[base.lineno - 1]
                    lines[base.lineno - 1] = line.replace(repr(base.value), repr(f'mmdensenet::{base.value}'))
    return ''.join(lines)
