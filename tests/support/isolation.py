"""Cases in which one image of a batch is not finite, and what must then be of the others."""

import random
from collections.abc import Iterator

import torch

BAD = (float('nan'), float('inf'), float('-inf'), 1e30)


def cases(count: int) -> Iterator[tuple]:
    """Batch sizes 1 to 9, sizes 1 to 65, growth rates 4 to 48, and widths that end inside a block of 16 channels."""
    draw = random.Random(0)
    # the size of the block's last maps of 64x64 images, where a batch of two is one tile of rows
    yield 2, (4, 4), 12, 16, BAD[0], 0
    yield 2, (2, 2), 8, 16, BAD[0], 0
    for _ in range(count):  # several images in the last, lower tile of a product and in the one before
        n = draw.randint(4, 9)
        yield n, draw.choice([(1, 1), (2, 1), (1, 3)]), draw.choice([5, 6, 7, 9]), 17, BAD[0], draw.randrange(n - 1)
    for i in range(count):
        n = 1 + i % 9
        size = draw.choice([(1, 1), (2, 2), (3, 2), (4, 4), (5, 7), (8, 8), (9, 11), (16, 15), (7, 33)])
        if i % 20 == 0:
            size = (draw.choice([33, 65]), 65)
        yield n, size, draw.choice([4, 5, 8, 12, 16, 24, 32, 48]), draw.randrange(1, 60), BAD[i % 4], draw.randrange(n)


def assert_isolated(got: dict, clean: dict, image: int, case: tuple):
    for name, value in got.items():
        others = [i for i in range(len(value)) if i != image]
        assert torch.equal(value[others], clean[name][others]), f'{name} of {case}'
        assert clean[name].isfinite().all(), f'{name} of {case}'
