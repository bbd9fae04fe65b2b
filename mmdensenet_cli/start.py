"""Parse the arguments of a command, and run it."""

import argparse
import importlib
import sys
from collections.abc import Sequence
from types import ModuleType

from .answer import answer, ending_at_ctrl_c, interrupted, open_closed_streams
from .importing import Importing
from .memory import keep_freed_memory, no_garbage
from .parser import Parser
from .threads import wait_briefly


def start(
    name: str, arguments: Sequence[str] | None = None, prog: str | None = None, owns_process: bool | None = None
) -> None:
    """Parse the arguments of a command and run it. Mistakes exit with status 2.

    Args:
        name: a module of this package, with ``add_arguments(parser)`` and ``run(args)``; with ``STANDALONE`` it does
            not need mmdensenet to be importable, and with ``COMPUTES_LONG`` memory is kept for its next step and
            threads leave a core that they wait on. ``NEEDS`` is the module that is imported before it runs, and
            ``PRINTS_RESULTS`` keeps all else from standard output.
        arguments: by default those of the process.
        prog: by default the script's name, as in ``tools/``.
        owns_process: whether the process ends with the command; by default if the arguments are the process's.
    """
    open_closed_streams()
    command = importlib.import_module(f'{__package__}.{name}')
    args = make_parser(command, prog).parse_args(arguments)
    if getattr(command, 'STANDALONE', False):
        answer(lambda: command.run(args))
        return
    owns_process = arguments is None if owns_process is None else owns_process
    if owns_process and getattr(command, 'COMPUTES_LONG', False):
        keep_freed_memory()
        wait_briefly()
    is_imported = 'torch' in sys.modules
    first = owns_process and not is_imported
    # Heavy modules are imported after the arguments are parsed, so that --help answers at once.
    try:
        importing = Importing(getattr(command, 'PRINTS_RESULTS', False), is_imported)
        with importing.shown(), no_garbage(keep=first), ending_at_ctrl_c(first):
            from mmdensenet.cli import run_tool
    except KeyboardInterrupt:
        interrupted()
    except Exception as error:
        if getattr(args, 'debug', False):
            raise
        print(f'error: {why_not_imported(error)}', file=sys.stderr)
        sys.exit(2)

    def run(args: argparse.Namespace) -> None:
        with importing.shown(), no_garbage(keep=first), ending_at_ctrl_c(first):
            importlib.import_module(getattr(command, 'NEEDS', 'mmdensenet.apis'))
        command.run(args)

    run_tool(run, args)


def why_not_imported(error: Exception) -> str:
    """Return one or two lines on an installation, or an environment, in which mmdensenet cannot be imported."""
    text = ' '.join(str(error).split())[:600]
    if isinstance(error, ImportError) and text.startswith('mmdensenet needs'):  # of mmdensenet.compat
        return text
    if isinstance(error, Warning):
        todo = 'Leave PYTHONWARNINGS=error and -W error out: warnings of other packages are no errors of yours.'
    elif 'temporary directory' in text:  # Python's tempfile
        todo = 'Make room in one of them, or let TMPDIR name another.'
    else:
        todo = '`mmdensenet info` tells what is installed, --debug where it stopped.'
    return f'mmdensenet cannot be imported: {type(error).__name__}: {text}\n{todo}'


def make_parser(command: ModuleType, prog: str | None = None) -> Parser:
    parser = Parser(prog=prog, description=command.__doc__)
    command.add_arguments(parser)
    return parser
