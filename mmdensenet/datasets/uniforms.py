"""The random numbers of one sample, where its pipeline draws from nothing else.

Seeding numpy's, Python's and torch's generators takes longer than all that happens to a small image.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b

import numpy as np


class Uniforms:
    """Numbers in [0, 1), a function of ``words`` and of how many were drawn: 53 bits each, of BLAKE2b."""

    def __init__(self, words: tuple[int, ...]):
        self._words = words
        self._blocks = 0
        self._numbers: list[int] = []

    def __call__(self) -> float:
        if not self._numbers:
            text = repr((self._words, self._blocks)).encode()
            self._numbers = list(struct.unpack('<8Q', blake2b(text).digest()))
            self._blocks += 1
        return (self._numbers.pop() >> 11) * 2.0**-53

    def integer(self, end: int) -> int:
        """0 to ``end`` - 1, as numpy's randint(0, end)."""
        return int(self() * end)

    @contextmanager
    def as_numpys(self) -> Iterator[None]:
        """numpy's generator seeded from these numbers, for a step that draws from it; afterwards it is as it was."""
        before = np.random.get_state()
        np.random.seed([self.integer(1 << 32), self.integer(1 << 32)])
        try:
            yield
        finally:
            np.random.set_state(before)

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * self()


_current: Uniforms | None = None


class uniforms_of:  # noqa: N801  a context; contextlib's takes twice as long, and this is for each sample
    """What the steps of a pipeline draw within the context comes from ``words``; from numpy if they are None."""

    def __init__(self, words: tuple[int, ...] | None):
        self._numbers = None if words is None else Uniforms(words)

    def __enter__(self) -> None:
        global _current
        self._before, _current = _current, self._numbers

    def __exit__(self, *error) -> None:
        global _current
        _current = self._before


def draw_from(words: tuple[int, ...] | None) -> None:
    """Within a context of :class:`uniforms_of`: the words of the next sample."""
    global _current
    _current = None if words is None else Uniforms(words)


def current() -> Uniforms | None:
    """The numbers of the sample that is being read; None where steps draw from numpy."""
    return _current
