"""Parse the arguments of a command, and run it."""

import argparse
import importlib
import os
import signal
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import NoReturn

from .importing import importing
from .memory import keep_freed_memory, no_garbage
from .parser import Parser
from .threads import wait_briefly


class CommandError(Exception):
    """A user's mistake, one or two lines, for commands that do not import mmdensenet's UserError."""


def start(
    name: str, arguments: Sequence[str] | None = None, prog: str | None = None, owns_process: bool | None = None
) -> None:
    """Parse the arguments of a command and run it. Mistakes exit with status 2.

    Args:
        name: a module of this package, with ``add_arguments(parser)`` and ``run(args)``; with ``STANDALONE`` it does
            not need mmdensenet to be importable, and with ``COMPUTES_LONG`` memory is kept for its next step and
            threads leave a core that they wait on.
        arguments: by default those of the process.
        prog: by default the script's name, as in ``tools/``.
        owns_process: whether the process ends with the command; by default if the arguments are the process's.
    """
    command = importlib.import_module(f'{__package__}.{name}')
    args = make_parser(command, prog).parse_args(arguments)
    if getattr(command, 'STANDALONE', False):
        try:
            command.run(args)
            sys.stdout.flush()
        except BrokenPipeError:  # its reader has read enough, as head
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter's end flushes once more
        except CommandError as error:
            print(f'error: {error}', file=sys.stderr)
            sys.exit(2)
        except KeyboardInterrupt:
            _interrupted()
        return
    owns_process = arguments is None if owns_process is None else owns_process
    if owns_process and getattr(command, 'COMPUTES_LONG', False):
        keep_freed_memory()
        wait_briefly()
    first = owns_process and 'torch' not in sys.modules
    # Heavy modules are imported after the arguments are parsed, so that --help answers at once.
    try:
        with importing(), no_garbage(keep=first):
            from mmdensenet.cli import run_tool
    except KeyboardInterrupt:
        _interrupted()

    def run(args: argparse.Namespace) -> None:
        with importing(), no_garbage(keep=first):
            importlib.import_module(getattr(command, 'NEEDS', 'mmdensenet.apis'))
        command.run(args)

    run_tool(run, args)


def _interrupted() -> NoReturn:
    """Exit after Ctrl-C without a traceback; run_tool handles the processes of a group itself."""
    print('interrupted', file=sys.stderr)
    sys.exit(128 + signal.SIGINT)


def make_parser(command: ModuleType, prog: str | None = None) -> Parser:
    parser = Parser(prog=prog, description=command.__doc__)
    command.add_arguments(parser)
    return parser
