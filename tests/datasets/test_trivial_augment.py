"""One operation of random strength for each image."""

import numpy as np
from mmengine.registry import init_default_scope
from mmpretrain.registry import TRANSFORMS


def test_each_of_fourteen_operations_at_every_strength():
    init_default_scope('mmpretrain')
    transform = TRANSFORMS.build(dict(type='mmdensenet.TrivialAugment', size=64))
    kinds = [type(operation).__name__ for operation in transform]
    assert len(kinds) == 14 and kinds.count('Shear') == kinds.count('Translate') == 2
    assert all(operation.prob == 1 for operation in list(transform)[1:])
    rotate = transform.transforms[kinds.index('Rotate')]
    np.random.seed(0)
    strengths = [rotate.random_magnitude() for _ in range(200)]
    assert min(strengths) < 5 < 130 < max(strengths) <= 135

    image = np.random.randint(0, 256, (64, 64, 3), dtype=np.uint8)
    found = [transform(dict(img=image.copy(), img_shape=(64, 64)))['img'] for _ in range(60)]
    unchanged = sum(np.array_equal(result, image) for result in found)
    assert 0 < unchanged < 20 and {result.shape for result in found} == {(64, 64, 3)}
    assert all(result.dtype == np.uint8 for result in found)
