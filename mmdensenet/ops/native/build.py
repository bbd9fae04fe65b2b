"""Compiles the C++ kernels, when asked to, into the cache: one library per source, compiler flags and processor."""

import functools
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

SOURCES = (
    'matmul.cpp',
    'conv3x3.cpp',
    'winograd.cpp',
    'norm.cpp',
    'pool.cpp',
    'stem.cpp',
    'evaluate.cpp',
    'bfloat16.cpp',
)
HEADERS = ('tile.h', 'matmul.h', 'winograd.h')
FLAGS = ('-O3', '-march=native', '-std=c++17', '-fopenmp', '-shared', '-fPIC', '-ffp-contract=fast', '-fno-math-errno')


@functools.cache
def library_path() -> Path | None:
    """Where the library of this machine and this source is, or would be; None where there can be none."""
    if not sys.platform.startswith('linux'):
        return None
    folder = Path(__file__).parent
    text = [*(folder / name for name in (*SOURCES, *HEADERS))]
    digest = hashlib.sha256(b'\0'.join(path.read_bytes() for path in text))
    digest.update(repr((FLAGS, _processor())).encode())
    cache = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache')
    return cache / 'mmdensenet' / f'kernels-{digest.hexdigest()[:16]}.so'


def build(compiler: str | None = None) -> Path:
    """Compile the kernels for this machine and return the library's path. Takes some ten seconds.

    Args:
        compiler: g++ or another that takes its flags; by default ``$CXX``, else g++.

    Raises:
        RuntimeError: if there is no compiler, or it fails; the message has what it said.
    """
    path = library_path()
    if path is None:
        raise RuntimeError('the C++ kernels are for Linux; elsewhere plain torch is used')
    compiler = compiler or os.environ.get('CXX') or 'g++'
    if shutil.which(compiler) is None:
        raise RuntimeError(
            f'there is no {compiler}: install a C++ compiler, or name one in CXX. Plain torch works without'
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    # beside it and renamed, so that a process that starts meanwhile finds nothing or the whole
    partial = path.with_suffix(f'.{os.getpid()}.partial')
    folder = Path(__file__).parent
    command = [compiler, *FLAGS, *(str(folder / name) for name in SOURCES), '-o', str(partial)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f'{compiler} failed:\n{done.stderr.strip()[-2000:]}')
    os.replace(partial, path)
    return path


def _processor() -> tuple[str, str]:
    """What -march=native depends on: a library in a shared home must not be run by another processor."""
    flags = ''
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
        flags = next((line for line in lines if line.startswith(('flags', 'Features'))), '')
    except OSError:
        pass
    return platform.machine(), flags
