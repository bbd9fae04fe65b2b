"""The C++ kernels for the tests of this folder."""

import pytest

from mmdensenet.ops import native, steps
from mmdensenet.ops.native import build


@pytest.fixture(scope='session')
def native_kernels(tmp_path_factory):
    """The C++ kernels, compiled into a folder of the test run unless they are in the user's cache already."""
    if native.why_not() is not None:
        patch = pytest.MonkeyPatch()
        patch.setenv('XDG_CACHE_HOME', str(tmp_path_factory.mktemp('cache')))
        build.library_path.cache_clear()
        try:
            build.build()
        except RuntimeError as error:
            pytest.skip(str(error))
        finally:
            patch.undo()  # the path is kept; processes that other tests start are not to find it
        steps._choose.cache_clear()
    return native
