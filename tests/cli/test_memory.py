"""Freed memory is kept by the commands that compute long, and imports run without a search for garbage."""

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

import mmdensenet_cli
from mmdensenet_cli import memory
from mmdensenet_cli.main import main

#: page faults of a second 64 MiB after a first that was freed
FAULTS = """
import resource, sys
from mmdensenet_cli.memory import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    bytearray(1 << 26)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

kept = keep_freed_memory()
print(kept, faults() > 15000, faults() > 15000)
"""


@pytest.mark.skipif(sys.platform != 'linux', reason="glibc's")
@pytest.mark.parametrize('own, expected', [({}, 'True True False'), ({'MALLOC_ARENA_MAX': '2'}, 'False True True')])
def test_what_is_freed_is_used_again(own, expected):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(memory._OWN_SETTINGS)}
    environment |= {'PYTHONPATH': str(Path(mmdensenet_cli.__file__).parent.parent), 'PYTHONMALLOC': 'malloc'} | own
    done = subprocess.run([sys.executable, '-c', FAULTS], env=environment, capture_output=True, text=True)
    assert done.stdout.split() == expected.split(), done.stderr


@pytest.mark.parametrize('command, computes_long', [('train', True), ('test', True), ('fit', True), ('serve', False)])
def test_only_a_process_of_its_own(command, computes_long, monkeypatch):
    calls = []
    monkeypatch.setattr('mmdensenet_cli.start.keep_freed_memory', lambda: calls.append(command))
    monkeypatch.setattr('mmdensenet_cli.start.wait_briefly', lambda: calls.append('threads'))
    monkeypatch.setattr('mmdensenet.cli.run_tool', lambda run, args: None)
    paths = ['a.py', 'b.pth'] if command == 'test' else ['a.py']
    main([command, *paths])
    assert calls == []
    monkeypatch.setattr(sys, 'argv', ['mmdensenet', command, *paths])
    main()
    assert calls == [command, 'threads'] * computes_long


@pytest.mark.parametrize('on', [True, False])
@pytest.mark.parametrize('keep', [True, False])
def test_imports_look_for_no_garbage(on, keep, monkeypatch):
    frozen = []
    monkeypatch.setattr(gc, 'freeze', lambda: frozen.append(gc.isenabled()))
    was_on = gc.isenabled()
    try:
        (gc.enable if on else gc.disable)()
        with pytest.raises(ImportError), memory.no_garbage(keep):
            assert not gc.isenabled()
            raise ImportError
        assert gc.isenabled() == on
    finally:
        (gc.enable if was_on else gc.disable)()
    assert frozen == [False] * keep


@pytest.mark.slow
def test_only_what_a_command_imports_itself_is_kept(run_command, monkeypatch):
    """A caller's objects may be garbage later."""
    code = 'import gc; from mmdensenet_cli.main import main; main(); print(gc.get_freeze_count() > 100000)'
    arguments = ['complexity', 'mmdensenet::densenet-bc-l22-k12_1xb32_digits', '--no-measure', '--json']
    assert run_command(sys.executable, '-c', code, *arguments).out.splitlines()[-1] == 'True'
    frozen = []
    monkeypatch.setattr(gc, 'freeze', lambda: frozen.append(True))
    monkeypatch.setattr('mmdensenet.cli.run_tool', lambda run, args: run(args))
    monkeypatch.setattr('mmdensenet_cli.complexity.run', lambda args: None)
    monkeypatch.setattr(sys, 'argv', ['mmdensenet', *arguments])
    main()
    assert not frozen
