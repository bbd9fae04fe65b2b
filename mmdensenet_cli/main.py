# PYTHON_ARGCOMPLETE_OK
"""``mmdensenet COMMAND ARGUMENTS``."""

import os
import sys
from collections.abc import Sequence

#: module of this package -> its line in the help
COMMANDS = {
    'fit': 'from your own images to a model: look, split, train, judge, hand over',
    'train': 'train a model from a config',
    'test': 'test a checkpoint',
    'decide': 'fit temperature, thresholds and sets on the validation part',
    'predict': 'predict the classes of images',
    'report': 'write a page about a checkpoint: metrics, charts, errors',
    'visualize': 'draw data, schedules, curves, activation maps, confusion, features',
    'export': 'write a checkpoint as ONNX, OpenVINO or torch.export, and compare',
    'serve': 'serve a model on a web page and as JSON',
    'convert': "convert other libraries' checkpoints",
    'verify': "check all images and labels of a config's data",
    'prepare': 'copy a data set into shards, which load faster',
    'complexity': 'count parameters and multiply-adds, measure memory',
    'configs': "list mmdensenet's configs, or copy one to change it",
    'info': 'print the versions, kernels and devices that a bug report needs',
}


def main(arguments: Sequence[str] | None = None) -> None:
    if '_ARGCOMPLETE' in os.environ:  # a shell requests completions
        complete()
    owns_process = arguments is None
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments:
        print(help_text(), file=sys.stderr)
        sys.exit(2)
    from .answer import answer

    name, *rest = arguments
    if name == 'help' and rest and rest[0] in COMMANDS:
        name, rest = rest[0], ['--help']
    if name in ('-h', '--help', 'help'):
        answer(lambda: print(help_text()))
    elif name in ('-V', '--version'):
        from .info import own_version

        answer(lambda: print(f'mmdensenet {own_version()}'))
    elif name in COMMANDS:
        from .start import start

        start(name, rest, prog=f'mmdensenet {name}', owns_process=owns_process)
    else:
        print(f'mmdensenet: error: there is no command {name!r}. {nearest(name)}', file=sys.stderr)
        sys.exit(2)


def help_text() -> str:
    lines = '\n'.join(f'  {name:12}{text}' for name, text in COMMANDS.items())
    return f"""usage: mmdensenet COMMAND ARGUMENTS

Train, test and use DenseNets. `mmdensenet COMMAND --help` shows the arguments of a command.

{lines}

examples:
  mmdensenet train mmdensenet::densenet-bc-l22-k12_1xb32_digits
  mmdensenet predict photo.jpg --model densenet121"""


def nearest(name: str) -> str:
    """Suggest a similar command, or list all commands."""
    import difflib

    begun = [command for command in COMMANDS if name and (command.startswith(name) or name.startswith(command))]
    close = begun or difflib.get_close_matches(name, COMMANDS, n=1)
    return f'Did you mean {" or ".join(close)}?' if close else f'There are {", ".join(COMMANDS)}.'


def complete() -> None:
    """Answer a completion request of argcomplete and exit; return where there is no such request."""
    import importlib

    try:
        import argcomplete
    except ImportError:
        sys.exit('error: completion needs argcomplete. Run: pip install "mmdensenet[completion]"')
    from .parser import Parser

    parser = Parser(prog='mmdensenet')
    commands = parser.add_subparsers()
    for name, text in COMMANDS.items():
        importlib.import_module(f'{__package__}.{name}').add_arguments(commands.add_parser(name, help=text))
    argcomplete.autocomplete(parser)
