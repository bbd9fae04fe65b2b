"""How many programs a multiprocessor runs at a time, from what the assembler reports."""

import pytest

from benchmarks.offline import programs_at_once


@pytest.mark.parametrize(
    ('registers', 'shared', 'warps', 'capability', 'programs'),
    [
        (128, 45 << 10, 8, 90, 2),  # 65536 registers / (128 * 256 threads)
        (129, 45 << 10, 8, 90, 1),  # given out in units of 8 a thread
        (168, 0, 4, 90, 3),
        (32, 0, 32, 90, 2),  # 64 warps
        (32, 0, 32, 86, 1),  # 48 warps
        (16, 0, 1, 90, 32),
        (16, 0, 1, 86, 16),
        (64, 75 << 10, 4, 90, 3),  # 228 KiB / (75 + 1)
        (64, 99 << 10, 4, 86, 1),
        (64, 100 << 10, 4, 86, 0),  # it does not fit
        (32, 81 << 10, 4, 80, 2),
    ],
)
def test_programs_at_once(registers, shared, warps, capability, programs):
    assert programs_at_once(registers, shared, warps, capability) == programs
