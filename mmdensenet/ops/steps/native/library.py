"""The library of kernels: which file, which variant, and its functions as kernels.h declares them."""

import contextlib
import ctypes
import functools
import os
import re
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import torch

from . import build

#: the environment variable that names a variant to use instead of the best that the processor can run
VARIABLE = 'MMDENSENET_KERNELS_VARIANT'
_DECLARATION = re.compile(r'^KERNEL\((\w+)\)\(([^()]*)\) noexcept;', re.MULTILINE)
_ARGUMENT = re.compile(r'(.*?)(\w+)')
_TYPES = {'index_t': ctypes.c_ssize_t, 'int': ctypes.c_int, 'double': ctypes.c_double}


class NoKernelsError(RuntimeError):
    """There are no kernels here; the message says why."""


class UnusableKernelsError(NoKernelsError):
    """There is a library, but it cannot be used: the user should know that plain torch replaces it."""


@dataclass(frozen=True)
class Library:
    path: Path
    variant: str
    #: the kernels by their names in kernels.h; they raise MemoryError if they cannot allocate memory
    functions: SimpleNamespace


def declarations() -> dict[str, list[tuple[str, str]]]:
    """The arguments of each kernel in kernels.h: type, without ``const``, and name."""
    text = re.sub(r'//.*', '', (build.FOLDER / 'kernels.h').read_text())
    found = {}
    for name, arguments in _DECLARATION.findall(text):
        matches = [_ARGUMENT.fullmatch(' '.join(argument.split())) for argument in arguments.split(',')]
        found[name] = [(match[1].replace('const', '').replace(' ', ''), match[2]) for match in matches]
    return found


@functools.cache
def load() -> Library:
    """The library for exactly this processor if it was built, else the package's.

    Raises:
        NoKernelsError: if there is none, or it cannot be loaded.
        RuntimeError: if MMDENSENET_KERNELS_VARIANT names a variant that the library lacks or the processor cannot run.
    """
    wanted = os.environ.get(VARIABLE)
    if not build.variants():
        raise NoKernelsError('no kernels for this platform')
    packaged = build.FOLDER / build.library_name()
    with contextlib.suppress(OSError):  # no home, or one that cannot be read
        if build.native_path().exists() and wanted in (None, '', 'native'):
            return open_library(build.native_path(), build.NATIVE)
    if packaged.exists():
        return open_library(packaged, build.variants(), wanted)
    outdated = next(build.FOLDER.glob('kernels-*.so'), None)
    if outdated is None:
        raise NoKernelsError(f'the C++ kernels have not been built; `{_build_command()}` does')
    raise UnusableKernelsError(
        f'{outdated} is outdated, its source has changed; `{_build_command()}` builds the kernels anew'
    )


def _build_command() -> str:
    """The command that builds kernels: in a clone, or with the copy of the tools that a wheel has."""
    package = Path(__file__).resolve().parents[3]
    of_wheel = package / '.mim' / 'tools' / 'build_kernels.py'
    is_clone = (package.parent / 'tools' / 'build_kernels.py').is_file()
    return 'python tools/build_kernels.py' if is_clone or not of_wheel.is_file() else f'python {of_wheel}'


def open_library(path: Path, variants: dict[str, tuple[str, ...]], wanted: str | None = None) -> Library:
    """Load a library that has these variants.

    Raises:
        NoKernelsError, RuntimeError: as :func:`load`.
    """
    _share_openmp()
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise UnusableKernelsError(f'the C++ kernels cannot be loaded: {error}') from None
    runnable = [variant for variant in variants if library.runs(variant.encode())]
    if wanted and wanted not in runnable:
        raise RuntimeError(f'{VARIABLE}={wanted}: choose one of {", ".join(runnable)}')
    if not runnable:
        raise UnusableKernelsError(f'the C++ kernels need a processor with one of {", ".join(variants)}')
    variant = wanted or runnable[0]
    functions = SimpleNamespace()
    for name, arguments in declarations().items():
        function = getattr(library, f'{name}__{variant}')
        function.argtypes = [ctypes.c_void_p if kind.endswith('*') else _TYPES[kind] for kind, _ in arguments]
        function.restype = _check_status
        setattr(functions, name, function)
    return Library(path, variant, functions)


def _check_status(status: int) -> None:
    if status:
        raise MemoryError('the C++ kernels could not allocate memory')


def _share_openmp() -> None:
    """Make the symbols of torch's OpenMP visible to the kernels, which link to no OpenMP library."""
    loaded = {line.split(maxsplit=5)[-1].rstrip() for line in Path('/proc/self/maps').read_text().splitlines()}
    candidates = [path for path in loaded if re.match(r'lib(gomp|omp|iomp5)\b', os.path.basename(path))]
    # scikit-learn and others bring an OpenMP of their own
    of_torch = str(Path(torch.__file__).parent)
    for path in sorted(candidates, key=lambda path: not path.startswith(of_torch))[:1]:
        ctypes.CDLL(path, ctypes.RTLD_GLOBAL)
