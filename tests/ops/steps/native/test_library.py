"""The interface is what kernels.h declares; what fails is said."""

import re
import subprocess
import sys
from ctypes import ArgumentError, c_double, c_int, c_ssize_t, c_void_p
from pathlib import Path

import pytest

import mmdensenet
from mmdensenet.ops.steps.native import build, library


def test_declarations_are_read_whole():
    header = (build.FOLDER / 'kernels.h').read_text()
    found = library.declarations()
    assert set(found) == set(re.findall(r'^KERNEL\((\w+)\)', header, re.MULTILINE))
    assert found['batch_norm_backward_sums_bfloat16'][:3] == [
        ('bfloat16*', 'grad'), ('index_t', 'grad_stride'), ('bfloat16*', 'rows')
    ]  # fmt: skip
    kinds = {kind for arguments in found.values() for kind, _ in arguments}
    assert kinds == {'float*', 'bfloat16*', 'double*', 'float**', 'index_t', 'int', 'double'}


def test_functions_are_what_is_declared(native_kernels):
    types = {'index_t': c_ssize_t, 'int': c_int, 'double': c_double}
    functions = vars(library.load().functions)
    assert set(functions) == set(library.declarations())
    for name, arguments in library.declarations().items():
        assert functions[name].argtypes == [types.get(kind, c_void_p) for kind, _ in arguments]
    with pytest.raises(ArgumentError):  # a changed argument
        functions['statistics'](None, 1.5, 0, 1, None, None, 1)
    with pytest.raises(TypeError):
        functions['statistics'](None, 1, 0, 1, None, None)


OUT_OF_MEMORY = """
import resource, sys, types
from pathlib import Path

package = types.ModuleType('mmdensenet')  # its own imports take seconds
package.__path__ = [sys.argv[1]]
sys.modules['mmdensenet'] = package

import torch
from mmdensenet.ops.steps import native

width = 5000
weight, x, ones = torch.randn(width, width), torch.randn(2, width), torch.ones(width)
expected = native.float32_steps.norm_relu_matmul(x, ones, ones, weight, measure=False)[0]
soft, hard = resource.getrlimit(resource.RLIMIT_AS)
pages = int(Path('/proc/self/statm').read_text().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 2**25, hard))
try:
    native.float32_steps.norm_relu_matmul(x, ones, ones, weight, measure=False)
except MemoryError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
assert torch.equal(native.float32_steps.norm_relu_matmul(x, ones, ones, weight, measure=False)[0], expected)
"""


def test_memory_that_cannot_be_allocated(native_kernels):
    """The process goes on; tests/scripts/sanitize_kernels.py lets each allocation of each kernel fail.

    In a process of its own, since what other tests have freed would be allocated in spite of the limit.
    """
    program = [sys.executable, '-c', OUT_OF_MEMORY, Path(mmdensenet.__file__).parent]
    done = subprocess.run(program, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == 'the C++ kernels could not allocate memory\n'


def test_a_library_that_cannot_be_loaded(tmp_path, native_kernels):
    file = tmp_path / 'kernels.so'
    file.write_text('no library')
    with pytest.raises(library.NoKernelsError, match=r'the C\+\+ kernels cannot be loaded'):
        library.open_library(file, build.NATIVE)


def test_variants(package_library, monkeypatch):
    opened = library.open_library(package_library, build.variants())
    assert opened.variant in build.variants()
    with pytest.raises(RuntimeError, match=r'MMDENSENET_KERNELS_VARIANT=sse9: choose one of .*avx2|neon'):
        library.open_library(package_library, build.variants(), 'sse9')


def test_without_a_home_there_is_the_packages_library(tmp_path, monkeypatch):
    def no_home():
        raise OSError

    packaged = tmp_path / 'kernels-new.so'
    packaged.touch()
    monkeypatch.setattr(build, 'native_path', no_home)
    monkeypatch.setattr(build, 'library_name', lambda: str(packaged))
    monkeypatch.setattr(library, 'open_library', lambda path, *_: path)
    monkeypatch.setattr(build, 'variants', lambda: build.VARIANTS['x86_64'])
    assert library.load.__wrapped__() == packaged


def test_outdated_and_missing_libraries_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(build, 'native_path', lambda: tmp_path / 'none.so')
    monkeypatch.setattr(build, 'library_name', lambda: 'kernels-new.so')
    monkeypatch.setattr(build, 'FOLDER', tmp_path)
    load = library.load.__wrapped__
    with pytest.raises(library.NoKernelsError, match='have not been built; `python tools/build_kernels'):
        load()
    installed = tmp_path / 'mmdensenet'
    (installed / '.mim/tools').mkdir(parents=True)
    (installed / '.mim/tools/build_kernels.py').touch()
    with monkeypatch.context() as patch:
        patch.setattr(library, '__file__', str(installed / 'ops/steps/native/library.py'))
        with pytest.raises(library.NoKernelsError, match=rf'`python {installed}/.mim/tools/build_kernels\.py` does'):
            load()
    (tmp_path / 'kernels-old.so').touch()
    with pytest.raises(library.NoKernelsError, match=r'kernels-old\.so is outdated'):
        load()
