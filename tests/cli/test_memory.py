"""Freed memory is kept for the next step by the commands that compute long, and by nothing else."""

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
    monkeypatch.setattr('mmdensenet.cli.run_tool', lambda run, args: None)
    paths = ['a.py', 'b.pth'] if command == 'test' else ['a.py']
    main([command, *paths])
    assert calls == []
    monkeypatch.setattr(sys, 'argv', ['mmdensenet', command, *paths])
    main()
    assert calls == [command] * computes_long
