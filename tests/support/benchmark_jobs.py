"""A job for the tests of benchmarks.measure: its process imports it by this name."""

import os

from benchmarks.measure import UnavailableError, Workload


def hold(mib: int) -> Workload:
    """A workload whose step holds ``mib`` MiB, and which asks for the environment it was promised."""
    if os.environ.get('BENCHMARK_TEST') != 'yes':
        raise UnavailableError('nobody set it')
    import torch

    held = []
    return Workload(lambda: held.append(torch.ones(mib * 2**18)), held.clear, facts=dict(mib=mib))
