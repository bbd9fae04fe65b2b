"""The C++ kernels, and products without TensorFloat32, for the tests of this folder."""

from pathlib import Path

import pytest
import torch

from mmdensenet.ops import steps
from mmdensenet.ops.steps import native
from mmdensenet.ops.steps.native import build, library


@pytest.fixture
def exact_float32():
    """Products of float32 without TensorFloat32, and one seed."""
    torch.manual_seed(0)
    flags = torch.backends.cudnn, torch.backends.cuda.matmul
    before = [flag.allow_tf32 for flag in flags]
    for flag in flags:
        flag.allow_tf32 = False
    yield
    for flag, value in zip(flags, before):
        flag.allow_tf32 = value


@pytest.fixture(scope='session')
def package_library(tmp_path_factory) -> Path:
    """The library with all variants of the C++ kernels, from the cache or compiled into it."""
    try:
        return build.build_for_package(tmp_path_factory.mktemp('kernels'))
    except RuntimeError as error:
        pytest.skip(str(error))


@pytest.fixture(scope='session')
def native_kernels(package_library):
    """The C++ kernels that this machine has, or the best variant of those in a folder of the test run."""
    if native.why_not() is not None:
        with pytest.MonkeyPatch.context() as patch:
            # load() keeps it; processes that other tests start are not to find it
            patch.setattr(build, 'library_name', lambda: str(package_library))
            library.load()
        steps._choose.cache_clear()
    return native.float32_steps


@pytest.fixture(params=build.variants())
def every_variant(request, native_kernels, package_library, monkeypatch) -> str:
    """The test runs once with each variant of the C++ kernels that this processor can run."""
    try:
        opened = library.open_library(package_library, build.variants(), request.param)
    except RuntimeError as error:
        if 'choose one of' not in str(error):
            raise
        pytest.skip(str(error))
    for name, function in vars(opened.functions).items():
        monkeypatch.setattr(library.load().functions, name, function)
    return request.param
