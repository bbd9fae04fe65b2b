import argparse
import ast
import contextlib
import errno
import os
import re
import subprocess
import sys
import urllib.error
import zipfile
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from mmengine.registry import MODELS
from mmpretrain.registry import DATASETS, TRANSFORMS

from mmdensenet.cli import as_options, explain, parse_cfg_options, run_tool
from mmdensenet.errors import UserError


def explained(build):
    with pytest.raises(Exception) as caught:
        build()
    return explain(caught.value)


@pytest.mark.parametrize(
    ('registry', 'cfg', 'message'),
    [
        (MODELS, dict(type='mmdensenet.DenseNet', dept=3), "DenseNet has no key 'dept'"),
        (MODELS, dict(type='mmdensenet.DenseNet', drop_rat=3), "Did you mean 'drop_rate'?"),
        (DATASETS, dict(type='CustomDataset', data_root='x', data_prefx='y'), "Did you mean 'data_prefix'?"),
        (DATASETS, dict(type='ImagNet'), "type='ImagNet': there is no dataset of this name. Did you mean 'ImageNet'?"),
        (TRANSFORMS, dict(type='Zzzzz'), 'name its module in custom_imports'),
        (MODELS, dict(type='mmdensenet.DensNet'), "Did you mean 'mmdensenet.DenseNet'?"),
    ],
)
def test_unknown_keys_and_types(registry, cfg, message):
    text = explained(lambda: registry.build(cfg))
    assert message in text
    assert len(text.splitlines()) <= 2


def test_faults_of_the_program_keep_their_traceback():
    def wrong():
        dict(a=1).update(nothing=int('x'))

    assert explained(wrong) is None
    assert explained(lambda: print(nonsense=1)) is None, 'a keyword that no config has given'
    assert explained(lambda: {}['x']) is None


def test_mistakes_that_torch_and_mmengine_tell_otherwise():
    def channels():
        return torch.nn.Conv2d(1, 2, 3)(torch.ones(1, 3, 8, 8))

    assert 'takes 1 channels and gets 3: if it is the first, set model.backbone.in_channels=3' in explained(channels)
    assert 'let the pipeline of the data set end in PackInputs' in explained(lambda: {}['inputs'])
    hook = TypeError("Average.__init__() got an unexpected keyword argument 'momentun' in <a.b.EMAHook object at 0x1>")
    assert explain(hook) == "EMAHook has no key 'momentun'."
    assert explained(lambda: Path('x' * 5000).read_text()) == f'{"x" * 80}...: File name too long.'
    assert 'cannot be built, at CustomDataset' in explained(
        lambda: DATASETS.build(dict(type='CustomDataset', data_root='x', data_prefix=None))
    )
    assert 'cannot be built, at None' in explained(lambda: MODELS.build(dict(type='mmpretrain.ClsHead', loss=None)))


def test_other_mistakes():
    assert explain(UserError('as it is')) == 'as it is'
    assert explained(lambda: Path('/no/such/file').read_text()) == '/no/such/file: no such file or folder.'
    assert explain(PermissionError(13, 'no', '/a')) == '/a: no. Change its permissions, or give another.'
    assert explain(IsADirectoryError(21, 'no', '/a')) == '/a: no. Name a file.'
    assert 'old: a warning is an error by PYTHONWARNINGS or -W: leave' in explain(DeprecationWarning('old\nmore'))
    encoding = UnicodeEncodeError('ascii', 'é.pth', 0, 1, 'no')
    assert explain(encoding) == r"'\xe9.pth' cannot be written in the encoding of this locale, ascii. Set PYTHONUTF8=1."
    assert explain(RuntimeError('MMDENSENET_KERNELS=x: choose')) == 'MMDENSENET_KERNELS=x: choose'
    assert 'download failed' in explain(urllib.error.URLError('no network'))
    worker = 'Caught RuntimeError\nTraceback\nRuntimeError: x'
    assert explain(RuntimeError(worker)) is None
    code = "assert img is not None, f'failed to load image: {filename}'"
    worker = f'Caught AssertionError in worker\nTraceback\n{code}\nAssertionError: failed to load image: a b.jpg\n'
    assert explain(AssertionError(worker)) == 'a b.jpg cannot be read as an image: repair or remove it.'
    sizes = 'stack expects each tensor to be equal size, but got [3, 20, 30] at entry 0 and [3, 16, 16] at entry 1'
    assert '3x20x30 and 3x16x16: let a step of the pipeline' in explain(RuntimeError(sizes))
    assert 'Found 0 files' in explain(RuntimeError('Found 0 files in subfolders of: /x'))


def test_status_and_debug(capsys):
    def tool(args):
        raise UserError('file x.py does not exist')

    with pytest.raises(SystemExit) as stop:
        run_tool(tool, argparse.Namespace(debug=False))
    assert stop.value.code == 2
    assert capsys.readouterr().err == 'error: file x.py does not exist\n'
    with pytest.raises(UserError):
        run_tool(tool, argparse.Namespace(debug=True))


def test_interrupted(capsys):
    def tool(args):
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as stop:
        run_tool(tool, argparse.Namespace(debug=False))
    assert (stop.value.code, capsys.readouterr().err) == (130, 'interrupted\n')
    with pytest.raises(KeyboardInterrupt):
        run_tool(tool, argparse.Namespace(debug=True))


def test_cfg_options():
    assert parse_cfg_options(None) == {}
    assert parse_cfg_options(['a.b=3', 'c=[1,2]', 'd=x', 'e=True', 'f=(1,2)', 'g=None']) == {
        'a.b': 3,
        'c': [1, 2],
        'd': 'x',
        'e': True,
        'f': (1, 2),
        'g': None,
    }
    with pytest.raises(UserError, match='write KEY=VALUE'):
        parse_cfg_options(['a'])


@pytest.mark.parametrize(('rank', 'printed', 'waits'), [(0, 'error: no\n', []), (1, 'error on rank 1: no\n', [10])])
def test_the_other_ranks_wait_for_the_first_ones_message(monkeypatch, capsys, rank, printed, waits):
    """The launcher ends them meanwhile, so that a mistake is printed once."""

    def fail(args):
        raise UserError('no')

    waited = []
    monkeypatch.setenv('RANK', str(rank))
    monkeypatch.setattr('mmdensenet.cli.time.sleep', waited.append)
    with pytest.raises(SystemExit) as stop:
        run_tool(fail, argparse.Namespace(debug=False))
    assert (stop.value.code, capsys.readouterr().err, waited) == (2, printed, waits)


@pytest.mark.parametrize('number', [errno.ENOSPC, errno.EROFS, errno.EFBIG])
def test_a_folder_that_cannot_be_written_to(number):
    message = explain(OSError(number, os.strerror(number), 'work_dirs/a/log'))
    assert message.startswith('work_dirs/a/log: ') and 'give another folder' in message
    assert ('ulimit' in message) == (number == errno.EFBIG)


def test_the_file_of_an_error_that_does_not_name_it(tmp_path):
    def write(path):
        with path.open('w'), path.with_name('inner').open('w') as file:
            fail(file)

    def fail(text):
        raise OSError(errno.ENOSPC, 'full')

    with pytest.raises(OSError) as caught:
        write(tmp_path / 'a')
    assert explain(caught.value).startswith(f'{tmp_path}/inner: full. Make room there')
    with pytest.raises(OSError) as in_archive:
        with zipfile.ZipFile(tmp_path / 'z.npz', 'w') as archive, archive.open('member', 'w') as member:
            fail(member)
    assert explain(in_archive.value).startswith(f'{tmp_path}/z.npz: full. ')
    assert explain(OSError(errno.ENOSPC, 'full')).startswith('a file: full. ')


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='the system has no /dev/full')
def test_standard_output_is_named(monkeypatch):
    full = open('/dev/full', 'w', buffering=1)  # noqa: SIM115  its end raises once more
    try:
        with monkeypatch.context() as patch, pytest.raises(OSError) as caught:
            patch.setattr(sys, 'stdout', full)
            print('a line')
    finally:
        with contextlib.suppress(OSError):
            full.close()
    assert explain(caught.value).startswith('standard output: No space left on device. ')


@pytest.mark.parametrize('below', [[], ['w']])
def test_a_file_in_the_place_of_a_folder(tmp_path, below):
    (tmp_path / 'file').touch()
    with pytest.raises(OSError) as caught:
        os.makedirs(tmp_path.joinpath('file', *below))
    message = explain(caught.value)
    assert message.startswith(str(tmp_path / 'file')) and message.endswith('no folder can be made of it. Give another.')


@pytest.mark.parametrize(
    ('ending', 'status', 'together'),
    [
        (lambda args: None, 0, True),
        (lambda args: sys.exit(143), 143, True),
        (lambda args: sys.exit(1), 'SystemExit', None),
        (lambda args: (_ for _ in ()).throw(UserError('no')), 2, False),
    ],
)
def test_ranks_end_without_the_interpreter_s_end(monkeypatch, capsys, ending, status, together):
    """There gloo's threads may abort the process, and the launcher would see signal 6, after SIGTERM too."""
    dist = torch.distributed
    for name, value in (('is_initialized', lambda: True), ('get_backend', lambda: 'gloo')):
        monkeypatch.setattr(dist, name, value)
    waited = []
    monkeypatch.setattr(dist, 'barrier', lambda: waited.append(True))
    monkeypatch.setattr('mmdensenet.cli.logging.shutdown', lambda: None)
    monkeypatch.setattr('mmdensenet.cli.atexit._run_exitfuncs', lambda: None)

    class Ended(BaseException):
        pass

    def end(status):
        raise Ended(status)

    monkeypatch.setattr('mmdensenet.cli.os._exit', end)
    with pytest.raises((Ended, SystemExit)) as caught:
        run_tool(ending, argparse.Namespace(debug=False))
    if status == 'SystemExit':
        assert caught.type is SystemExit
    else:
        assert caught.type is Ended and caught.value.args == (status,) and bool(waited) == together


@pytest.mark.parametrize(
    ('message', 'shown'),
    [
        ('out=a b.txt: the name', '--out a b.txt: the name'),
        ('Use partial=True to go on.', 'Use --partial to go on.'),
        ('train with validate=False.', 'train with --no-validate.'),
        ('`out_item` says what, out=FILE where', '--out-item says what, --out FILE where'),
        ("Set cfg_options={'a.b': 3}: measured", 'Set --cfg-options a.b=3: measured'),
        ('`cfg_options` a.b: no such key', '--cfg-options a.b: no such key'),
        # what is no argument of this tool stays: keys of configs, other names, parts of words
        ('set model.head.out=3, `neck`, batch=2 and layout=5', 'set model.head.out=3, `neck`, batch=2 and layout=5'),
        ('norm_eval=False', 'norm_eval=False'),
    ],
)
def test_arguments_are_shown_as_options(message, shown):
    args = Namespace(out=None, out_item=None, partial=False, no_validate=False, cfg_options=None)
    assert as_options(message, args) == shown


def test_the_library_names_no_options():
    """But those of a tool that it names."""
    for file in sorted((ROOT / 'mmdensenet').rglob('*.py')):
        if file.name == 'cli.py' or '.mim' in file.parts:
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding='utf-8'))):
            if isinstance(node, ast.Call) and getattr(node.func, 'id', '') == 'UserError':
                texts = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant)]
                text = ''.join(text for text in texts if isinstance(text, str))
                assert not re.search('(^|[^-])--[a-z]', re.sub('`mmdensenet [^`]*`', '', text)), f'{file}: {text}'


@pytest.mark.parametrize('ending', ['', ', flush=True'])
def test_a_reader_that_ends_first(ending):
    """As in `mmdensenet test ... | head -1`: the command ends as others do then, without a traceback."""
    code = 'from argparse import Namespace; from mmdensenet.cli import run_tool; '
    code += f'run_tool(lambda args: print("a line"{ending}), Namespace(debug=False))'
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, '-c', code], stdout=writer, stderr=subprocess.PIPE, text=True, cwd=ROOT, timeout=240
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, '')


def test_other_broken_pipes_keep_their_traceback():
    def tool(args):
        raise BrokenPipeError('of a worker')

    with pytest.raises(BrokenPipeError, match='of a worker'):
        run_tool(tool, Namespace(debug=False))
