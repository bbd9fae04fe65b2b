"""Set how OpenMP's threads wait for each other."""

import os
import sys

#: turns of the loop in which a thread waits before it sleeps. libgomp's default is a hundred times as many, so that on
#: shared cores waiting threads hold those that data loading, or another program, needs; OMP_WAIT_POLICY=PASSIVE is none
#: at all, and each small layer pays for waking threads up. docs/benchmarks.md has the rates.
SPIN_COUNT = 3000
_OWN_SETTINGS = ('GOMP_SPINCOUNT', 'OMP_WAIT_POLICY')


def wait_briefly() -> bool:
    """Let OpenMP's threads sleep soon; False where torch is imported already, or the environment says how to wait.

    For torch's libgomp, of Linux; other OpenMP runtimes do not read the variable. Child processes inherit it.
    """
    if 'torch' in sys.modules or any(name in os.environ for name in _OWN_SETTINGS):
        return False
    os.environ['GOMP_SPINCOUNT'] = str(SPIN_COUNT)
    return True
