"""Numbers of a sample: uniform, the same again, others for other samples."""

import struct
from hashlib import blake2b

import numpy as np
from scipy.stats import kstest

from mmdensenet.datasets.uniforms import Uniforms, current, uniforms_of


def test_numbers_are_a_function_of_the_words():
    first = [Uniforms((1, 2))() for _ in range(2)]
    numbers = Uniforms((1, 2))
    drawn = [numbers() for _ in range(1000)]
    assert first[0] == first[1] == drawn[0] and len(set(drawn)) == 1000
    assert Uniforms((2, 1))() != drawn[0]


def test_numbers_are_those_of_blake2b():
    """Runs of later versions draw the same."""
    blocks = [struct.unpack('<8Q', blake2b(repr(((1, 2), block)).encode()).digest())[::-1] for block in range(2)]
    expected = [(number >> 11) / 2**53 for block in blocks for number in block]
    numbers = Uniforms((1, 2))
    assert [numbers() for _ in range(16)] == expected
    numbers = Uniforms((1, 2))
    with numbers.as_numpys():
        seed = [int(number * 2**32) for number in expected[:2]]
        assert np.random.random() == np.random.RandomState(seed).random_sample()
    assert numbers() == expected[2]


def test_numbers_are_uniform_within_and_across_samples():
    numbers = Uniforms((7,))
    assert kstest([numbers() for _ in range(20000)], 'uniform').pvalue > 1e-4
    assert kstest([Uniforms((0, number))() for number in range(20000)], 'uniform').pvalue > 1e-4
    assert sorted({numbers.integer(3) for _ in range(100)}) == [0, 1, 2]
    assert all(2 <= numbers.between(2, 5) < 5 for _ in range(100))


def test_contexts_nest_and_end():
    with uniforms_of((1,)):
        outer = current()
        with uniforms_of(None):
            assert current() is None
        assert current() is outer
    assert current() is None
