"""Compiles the C++ kernels. setup.py runs it too, so it needs nothing but the standard library and a compiler.

A library holds the kernels once per *variant*, a set of instructions, and :mod:`.library` chooses the best variant that
the processor can run. The package's library has those of :data:`VARIANTS`; ``python tools/build_kernels.py`` makes one
in the user's cache with the variant ``native``, for exactly this processor. A library's name has a hash of its source
and flags, so that one of another source is never loaded.
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
# -fopenmp only compiles: at run time the kernels use the OpenMP library that torch has loaded, so that there is one
# pool of threads. The C++ library is linked statically, because that of another machine may be older
LINK_FLAGS = ('-shared', '-fPIC', '-static-libstdc++', '-static-libgcc', '-Wl,--exclude-libs,ALL')

_AVX2 = ('-mavx2', '-mfma', '-mbmi', '-mbmi2')
_AVX512 = (*_AVX2, '-mavx512f', '-mavx512bw', '-mavx512cd', '-mavx512dq', '-mavx512vl')
#: variants and flags for each machine, the best first; processor.cpp tests for the same instructions
VARIANTS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    'x86_64': {'avx512_bf16': (*_AVX512, '-mavx512bf16', '-mavx512vnni'), 'avx512': _AVX512, 'avx2': _AVX2},
    'aarch64': {'neon': ()},
}
NATIVE = {'native': ('-march=native',)}


def variants() -> Mapping[str, tuple[str, ...]]:
    """The variants of this machine's package library; none on a platform without kernels."""
    return VARIANTS.get(platform.machine(), {}) if sys.platform.startswith('linux') else {}


def cache_folder() -> Path:
    """The user's folder for compiled libraries.

    Raises:
        OSError: if the user has no home.
    """
    try:
        return Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'mmdensenet'
    except RuntimeError:
        raise OSError('no home folder: set HOME or XDG_CACHE_HOME') from None


def library_name() -> str:
    """The file name of the package's library of this source."""
    return f'kernels-{_digest(repr(sorted(variants().items())))}.so'


@functools.cache
def native_path() -> Path:
    """The path of the library for exactly this processor, built or not."""
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
    """Write the library with all variants into a folder; copy it from the cache if it was compiled before.

    Raises:
        RuntimeError: as :func:`compile_library`.
    """
    target = folder / library_name()
    if target.exists():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    try:
        cached = cache_folder() / library_name()
        if not cached.exists():
            compile_library(cached, variants())
        shutil.copy2(cached, target)
    except OSError:  # no home, or one that cannot be written to
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
        path: of the library; a failure leaves no partial file there.
        variants: names and compiler flags.
        compiler: g++ or another that takes its flags; by default ``$CXX``, else g++.
        flags: additional flags for compiling and linking.

    Raises:
        RuntimeError: if there is no compiler, if it fails, or if the platform has no kernels; the message has the
            compiler's output.
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
        # renamed, so that a process that starts meanwhile never finds a partial file
        os.replace(partial, path)


def _run_all(commands: list[list[str]]) -> None:
    """Run commands at the same time. Raises RuntimeError if one fails."""
    running = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for command in commands]
    outputs = [process.communicate()[1].decode(errors='replace') for process in running]
    for process, text in zip(running, outputs):
        if process.returncode:
            raise RuntimeError(f'{process.args[0]} failed:\n{text.strip()[-2000:]}')


def _processor() -> tuple[str, str]:
    """What -march=native depends on: another processor must not load a library from a shared home."""
    flags = ''
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
        flags = next((line for line in lines if line.startswith(('flags', 'Features'))), '')
    except OSError:
        pass
    return platform.machine(), flags
