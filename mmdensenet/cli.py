"""Run a tool, and end it with a status and, after a user's mistake, one or two lines on how to correct it."""

import atexit
import difflib
import errno
import gc
import io
import logging
import os
import re
import select
import signal
import sys
import time
import traceback
import urllib.error
import zipfile
from argparse import Namespace
from collections.abc import Callable, Sequence

from mmengine.config import DictAction

from mmdensenet import terminal
from mmdensenet.errors import LONGEST, UserError, first_line
from mmdensenet.similar import similar_path

#: status of a command whose output nobody reads any more: 128 + SIGPIPE, as in shells; Windows does not define it
BROKEN_PIPE = 128 + 13


def run_tool(tool: Callable[[Namespace], None], args: Namespace) -> None:
    """Call ``tool(args)``; a user's mistake is printed without a traceback (``args.debug`` shows it), with status 2.

    Ctrl-C ends it with status 130, without a traceback too. mmengine's lines are in the log only, unless
    ``args.verbose``.
    """
    atexit.register(gc.freeze)  # else the interpreter's end looks through all objects of torch's: a second and more
    if getattr(sys.stdout, 'errors', None) == 'strict' and hasattr(sys.stdout, 'reconfigure'):
        sys.stdout.reconfigure(errors='backslashreplace')  # names of files may be in no encoding
    try:
        with terminal.command(verbose=getattr(args, 'verbose', False)):
            tool(args)
            sys.stdout.flush()
        _leave_process_group(0)
    except SystemExit as stop:
        if stop.code in (128 + signal.SIGTERM, 128 + signal.SIGINT):  # all ranks stop together
            _leave_process_group(stop.code)
        raise
    except KeyboardInterrupt:
        if args.debug:
            raise
        print('interrupted', file=sys.stderr)
        _leave_process_group(128 + signal.SIGINT, together=False)
        sys.exit(128 + signal.SIGINT)
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _reader_is_gone():
            _leave_process_group(BROKEN_PIPE, together=False)
            sys.exit(BROKEN_PIPE)
        message = explain(error)
        if message is None or args.debug:
            raise
        rank = int(os.environ.get('RANK', os.environ.get('SLURM_PROCID', 0)))
        if rank:  # all ranks find most mistakes: rank 0 prints it, and the launcher ends the others meanwhile
            time.sleep(10)
        message = as_options(message, args)
        print(f'error: {message}' if rank == 0 else f'error on rank {rank}: {message}', file=sys.stderr)
        _leave_process_group(2, together=False)
        sys.exit(2)


def _reader_is_gone() -> bool:
    """Whether the reader of standard output, such as head, has ended; further output is discarded then."""
    if not hasattr(select, 'poll'):  # Windows
        return False
    output = select.poll()
    output.register(sys.stdout.fileno(), 0)
    if not any(events & select.POLLERR for _, events in output.poll(0)):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter's end flushes once more
    return True


def _leave_process_group(status: int, together: bool = True) -> None:
    """End this process with this status, if it is one of several that speak through gloo.

    Its threads now and then abort the interpreter's end (signal 6) after all work is done, with and without
    destroy_process_group, which would be another status to the launcher. What Python does at its end is done here
    instead.

    Args:
        together: whether all processes come here.
    """
    import torch.distributed as dist

    if not (dist.is_available() and dist.is_initialized() and dist.get_backend() == 'gloo'):
        return
    if together:
        dist.barrier()  # no rank ends while another one still waits for its message
    logging.shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def parse_cfg_options(values: Sequence[str] | None) -> dict:
    """KEY=VALUE pairs of ``--cfg-options`` as mmengine reads them.

    The tools collect them as text, for mmengine is slow to import and ``--help`` is not to wait for it.
    """
    if not values:
        return {}
    for value in values:
        if '=' not in value:
            raise UserError(f'--cfg-options {value}: write KEY=VALUE.')
    namespace = Namespace()
    DictAction(option_strings=['--cfg-options'], dest='options')(None, namespace, list(values))
    return namespace.options


def as_options(message: str, args: Namespace) -> str:
    """A message of the library, with the tool's options where it names arguments of Python.

    Args:
        args: the tool's, whose names are those of the arguments.

    >>> as_options('interval=0: give 1 or more, or `out_item`.', Namespace(interval=0, out_item=None))
    '--interval 0: give 1 or more, or --out-item.'
    >>> as_options("Set cfg_options={'train_cfg.max_epochs': 3}.", Namespace(cfg_options=[]))
    'Set --cfg-options train_cfg.max_epochs=3.'
    """

    def option(found: re.Match) -> str:
        return f'--{found["name"].replace("_", "-")}'

    def switch(found: re.Match) -> str:
        return f'`no_{found["name"]}`' if f'no_{found["name"]}' in args else found[0]

    name = rf'(?P<name>{"|".join(map(re.escape, vars(args)))})'
    message = re.sub(r"cfg_options=\{'([^']+)': ([^}]*)\}", r'`cfg_options` \1=\2', message)
    message = re.sub(r'(?<!\S)(?P<name>\w+)=False\b', switch, message)
    message = re.sub(rf'`{name}`', option, message)
    message = re.sub(rf'(?<!\S){name}=True\b', option, message)
    return re.sub(rf'(?<!\S){name}=(?=\S)', lambda found: f'{option(found)} ', message)


def explain(error: BaseException) -> str | None:
    """Return one or two lines on how the user can correct an error; None if it looks like a fault of the program."""
    text = str(error)
    if isinstance(error, UserError):  # from a data loader's worker it comes with a traceback
        return _after_traceback(text) if 'Original Traceback' in text else text
    if isinstance(error, KeyError) and (found := re.search(r'(\S+) is not in the (\S+)::(.+?) registry', text)):
        return _unknown_type(found[1].strip('\'"'), found[3])
    if isinstance(error, TypeError) and (found := re.search(r"unexpected keyword argument '(\w+)'", text)):
        if hook := re.search(r' in <\S*?(\w+) object at', text):  # mmengine says it of hooks, when they begin
            return f'{hook[1]} has no key {found[1]!r}.'
        return _unknown_key(error, found[1]) or _while_building(error)
    if isinstance(error, TypeError) and 'None is not a callable' in text:  # mmengine's look-up of an optimizer
        for frame, _ in traceback.walk_tb(error.__traceback__):
            cfg = getattr(frame.f_locals.get('self'), 'optimizer_cfg', None)
            if cfg is not None:
                return _unknown_type(cfg.get('type'), 'optimizer')
    if isinstance(error, (RuntimeError, ValueError)) and text.startswith('MMDENSENET_'):  # a variable's value
        return text
    if isinstance(error, Warning):
        return f'{first_line(error)}: a warning is an error by PYTHONWARNINGS or -W: leave that out.'
    if isinstance(error, UnicodeEncodeError) and error.encoding.lower() not in ('utf-8', 'utf8'):
        text = ascii(str(error.object))[:80]
        return f'{text} cannot be written in the encoding of this locale, {error.encoding}. Set PYTHONUTF8=1.'
    if isinstance(error, urllib.error.URLError):
        return f'a download failed: {text}. Without network, put the data where the config expects it.'
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG):
        where = os.fsdecode(error.filename) if error.filename else _written(error)
        what = 'Raise the limit (ulimit -f)' if error.errno == errno.EFBIG else 'Make room there'
        return f'{where}: {error.strerror}. {what}, or give another folder.'
    if isinstance(error, FileNotFoundError):
        if not error.filename:
            return _last_line(text)
        return f'{error.filename}: no such file or folder.{similar_path(os.fsdecode(error.filename))}'
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return f'{os.fsdecode(error.filename or "")[:80]}...: {error.strerror}.'
    if isinstance(error, (FileExistsError, NotADirectoryError)) and error.filename:  # of a folder that is to be made
        return f'{os.fsdecode(error.filename)}: {error.strerror}, and no folder can be made of it. Give another.'
    if isinstance(error, (IsADirectoryError, PermissionError)) and error.filename:
        todo = 'Name a file' if isinstance(error, IsADirectoryError) else 'Change its permissions, or give another'
        return f'{os.fsdecode(error.filename)}: {error.strerror}. {todo}.'
    if isinstance(error, (RuntimeError, AssertionError)) and re.match(
        r'Found 0 files|Cannot find \w+ dataset|Download failed|The number of subfolders', text
    ):
        return _last_line(text)
    if re.search(r'DataLoader worker \(pid.*(killed by signal|exited unexpectedly)', text):
        return (
            f'{_last_line(text)}\nWorkers are killed when memory runs short: give the data loaders fewer (num_workers).'
        )
    if found := re.findall(r'failed to load image: (.+)', text):  # the last: a worker's traceback quotes the code too
        return f'{found[-1]} cannot be read as an image: repair or remove it.'
    if found := re.search(r'stack expects each tensor to be equal size, but got \[(.+?)\] .* and \[(.+?)\]', text):
        sizes = ' and '.join(size.replace(', ', 'x') for size in found.groups())
        return f'images of one batch have several sizes, {sizes}: let a step of the pipeline make them one, as Resize.'
    if found := re.search(r'expected input\[.+?\] to have (\d+) channels, but got (\d+) channels', text):
        return (
            f'a convolution takes {found[1]} channels and gets {found[2]}: if it is the first, set '
            f'model.backbone.in_channels={found[2]}, or read grey or colour images as it needs.'
        )
    if isinstance(error, KeyError) and error.args == ('inputs',):
        return "a sample has no 'inputs': let the pipeline of the data set end in PackInputs."
    if found := re.search(r'mat1 and mat2 shapes cannot be multiplied \(\d+x(\d+) and (\d+)x', text):
        return f'a linear layer gets {found[1]} features and takes {found[2]}: set model.head.in_channels={found[1]}.'
    return _while_building(error)


def _written(error: OSError) -> str:
    """The name of the file whose writing failed: the error has none, but the functions on the way have the file."""
    called = traceback.extract_tb(error.__traceback__)[-1:]
    line = called[0].line or '' if called else ''
    if line.startswith(('print(', 'sys.stdout.')) and 'file=' not in line:
        return 'standard output'
    for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
        for value in frame.f_locals.values():
            name = getattr(value, 'filename' if isinstance(value, zipfile.ZipFile) else 'name', None)
            is_named = isinstance(value, (io.IOBase, zipfile.ZipFile)) and isinstance(name, (str, bytes))
            if is_named and os.path.exists(name):  # else it is a member of an archive
                return os.fsdecode(name)
    return 'a file'


def _while_building(error: BaseException) -> str | None:
    """An error on the way from the config to the objects that it describes is one of the config's values."""
    what = None
    for frame, _ in traceback.walk_tb(error.__traceback__):
        code = frame.f_code
        if code.co_name == 'build_from_cfg':
            given = frame.f_locals.get('cfg')
            built = frame.f_locals.get('obj_cls') or (given.get('type') if isinstance(given, dict) else repr(given))
            what = getattr(built, '__name__', str(built or 'an entry without type'))
            what = 'train_cfg' if what in ('EpochBasedTrainLoop', 'IterBasedTrainLoop') else what
        elif code.co_filename.endswith('runner.py') and (
            code.co_name.startswith('build_') or code.co_name in ('setup_env', 'set_randomness', '__init__')
        ):
            what = {'build_dataloader': 'a data loader', 'build_train_loop': 'train_cfg', '__init__': 'the runner'}.get(
                code.co_name, code.co_name
            )
    kinds = (ValueError, TypeError, LookupError, AttributeError, AssertionError, RuntimeError, ArithmeticError)
    if what is None or not isinstance(error, kinds):
        return None
    first = (str(error.args[0] if error.args else '').strip() or type(error).__name__).splitlines()[0]
    first = f'{first[:LONGEST]} ...' if len(first) > LONGEST else first
    return (
        f'the config cannot be built, at {what}: {first}\nCorrect its keys and values; --debug shows where it stopped.'
    )


def _after_traceback(text: str) -> str:
    """Return the message of a worker's exception, the lines after its type."""
    *_, last = re.split(r'^mmdensenet\.errors\.\w+: ', text, flags=re.MULTILINE)
    return _last_line(text) if last == text else last.strip()


def _last_line(text: str) -> str:
    """The message itself, where a data loader's worker has put a traceback before it."""
    lines = text.strip().splitlines()
    return lines[-1] if lines else ''


def _unknown_type(name: str, registry: str) -> str:
    from mmengine.registry import root

    known: set[str] = set()
    for candidate in vars(root).values():
        if getattr(candidate, 'name', None) == registry:
            for scope in ('mmpretrain', 'mmdensenet'):
                child = candidate.children.get(scope)
                prefix = 'mmdensenet.' if scope == 'mmdensenet' else ''
                known.update(prefix + key for key in (child.module_dict if child else ()))
            known.update(candidate.module_dict)
    close = difflib.get_close_matches(name, known, n=1)
    if name in known:
        return f"type={name!r} is mmpretrain's: set default_scope = 'mmpretrain', or write 'mmpretrain.{name}'."
    hint = f'Did you mean {close[0]!r}?' if close else 'If it is your own, name its module in custom_imports.'
    return f'type={name!r}: there is no {registry} of this name. {hint}'


def _unknown_key(error: BaseException, key: str) -> str | None:
    """Name the config entry whose class does not take ``key``; None if it did not come from a config."""
    for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
        if frame.f_code.co_name == 'build_from_cfg' and key in (frame.f_locals.get('args') or {}):
            cls = frame.f_locals.get('obj_cls')
            name = getattr(cls, '__name__', str(cls))
            known = _parameters(cls)
            close = difflib.get_close_matches(key, known, n=1)
            hint = f'Did you mean {close[0]!r}?' if close else f'It takes {", ".join(sorted(known))}.'
            return f'{name} has no key {key!r}. {hint}'
    return None


def _parameters(cls) -> set[str]:
    import inspect

    names: set[str] = set()
    for base in getattr(cls, '__mro__', (cls,)):
        try:
            parameters = inspect.signature(base.__init__ if isinstance(base, type) else base).parameters.values()
        except (TypeError, ValueError):
            continue
        names.update(p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY))
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return names - {'self'}
