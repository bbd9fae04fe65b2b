"""Compiles the C++ kernels; needs nothing but Python's library and a compiler, as setup.py runs it too.

A library holds the kernels once per *variant*, a set of instructions, and :mod:`.library` takes the best that the
processor can run. The package's library has those of :data:`VARIANTS`; ``python tools/build_kernels.py`` makes one with
the variant ``native`` in the user's cache, for exactly this processor. Their names hold a hash of what they are made
of, so that one of another source is never loaded.
"""

import functools
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

FOLDER = Path(__file__).parent
SOURCE, PROCESSOR = FOLDER / 'kernels.cpp', FOLDER / 'processor.cpp'
FLAGS = ('-O3', '-std=c++17', '-fopenmp', '-fPIC', '-fvisibility=hidden', '-ffp-contract=fast', '-fno-math-errno')
# -fopenmp is for compiling alone: OpenMP's functions are found in the library that torch has loaded, so that there is
# one pool of threads; and the library does not ask for the C++ library of the machine that it was built on
LINK_FLAGS = ('-shared', '-fPIC', '-static-libstdc++', '-static-libgcc', '-Wl,--exclude-libs,ALL')

_AVX2 = ('-mavx2', '-mfma', '-mbmi', '-mbmi2')
_AVX512 = (*_AVX2, '-mavx512f', '-mavx512bw', '-mavx512cd', '-mavx512dq', '-mavx512vl')
#: of each machine the variants with their flags, the best first; processor.cpp asks for the same instructions
VARIANTS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    'x86_64': {'avx512_bf16': (*_AVX512, '-mavx512bf16', '-mavx512vnni'), 'avx512': _AVX512, 'avx2': _AVX2},
    'aarch64': {'neon': ()},
}
NATIVE = {'native': ('-march=native',)}


def variants() -> Mapping[str, tuple[str, ...]]:
    """The variants of this machine's package library; none where there can be none."""
    return VARIANTS.get(platform.machine(), {}) if sys.platform.startswith('linux') else {}


def cache_folder() -> Path:
    return Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'mmdensenet'


def library_name() -> str:
    """The file name of the package's library, if it is of this source."""
    return f'kernels-{_digest(repr(sorted(variants().items())))}.so'


@functools.cache
def native_path() -> Path:
    """Where the library for exactly this processor is, or would be."""
    return cache_folder() / f'kernels-native-{_digest(repr((NATIVE, _processor())))}.so'


@functools.cache
def _digest(settings: str) -> str:
    digest = hashlib.sha256(repr((FLAGS, LINK_FLAGS, settings)).encode())
    for path in sorted([*FOLDER.glob('*.cpp'), *FOLDER.glob('*.h')]):
        digest.update(path.name.encode() + b'\0' + path.read_bytes())
    return digest.hexdigest()[:16]


def build_native(compiler: str | None = None) -> Path:
    """Compile the kernels for this processor into the cache and return the library's path. Takes some ten seconds.

    Raises:
        RuntimeError: as :func:`compile_library`.
    """
    compile_library(native_path(), NATIVE, compiler)
    return native_path()


def build_for_package(folder: Path) -> Path:
    """Put the library with all variants into a folder, from the cache where it was compiled before.

    Raises:
        RuntimeError: as :func:`compile_library`.
    """
    target, cached = folder / library_name(), cache_folder() / library_name()
    if target.exists():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if not cached.exists():
            compile_library(cached, variants())
        shutil.copy2(cached, target)
    except OSError:  # a home that cannot be written to
        compile_library(target, variants())
    for other in folder.glob('kernels-*.so'):
        if other != target:
            other.unlink()
    return target


def compile_library(
    path: Path, variants: Mapping[str, tuple[str, ...]], compiler: str | None = None, flags: tuple[str, ...] = ()
) -> None:
    """Compile a library.

    Args:
        path: of the library, written whole or not at all.
        variants: names and compiler flags.
        compiler: g++ or another that takes its flags; by default ``$CXX``, else g++.
        flags: more of them, for compiling and linking.

    Raises:
        RuntimeError: if there is no compiler, it fails, or nothing can be compiled for this machine; the message has
            what the compiler said.
    """
    if not variants or not sys.platform.startswith('linux'):
        raise RuntimeError(f'the C++ kernels are for Linux on {" and ".join(VARIANTS)}; elsewhere plain torch is used')
    compiler = compiler or os.environ.get('CXX') or 'g++'
    if shutil.which(compiler) is None:
        raise RuntimeError(
            f'there is no {compiler}: install a C++ compiler, or name one in CXX. Plain torch works without'
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix='compile-') as name:
        folder = Path(name)
        jobs = {
            folder / f'{variant}.o': [*FLAGS, *options, f'-DVARIANT={variant}', '-c', str(SOURCE)]
            for variant, options in variants.items()
        }
        jobs[folder / 'processor.o'] = [*FLAGS, '-c', str(PROCESSOR)]
        _run_all([[compiler, *options, *flags, '-o', str(out)] for out, options in jobs.items()])
        partial = folder / path.name
        _run_all([[compiler, *LINK_FLAGS, *flags, *map(str, jobs), '-o', str(partial)]])
        # renamed, so that a process that starts meanwhile finds nothing or the whole
        os.replace(partial, path)


def _run_all(commands: list[list[str]]) -> None:
    """Run them side by side."""
    running = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for command in commands]
    said = [process.communicate()[1].decode(errors='replace') for process in running]
    for process, text in zip(running, said):
        if process.returncode:
            raise RuntimeError(f'{process.args[0]} failed:\n{text.strip()[-2000:]}')


def _processor() -> tuple[str, str]:
    """What -march=native depends on: a library in a shared home must not be run by another processor."""
    flags = ''
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
        flags = next((line for line in lines if line.startswith(('flags', 'Features'))), '')
    except OSError:
        pass
    return platform.machine(), flags
