"""Random images, and transforms of mmpretrain and mmcv that run on them."""

import random

import numpy as np
from mmengine.registry import init_default_scope
from mmpretrain.registry import TRANSFORMS
from PIL import Image

KINDS = ('colour', 'flat grey', 'grey')


def images(kind, count=200, smallest=3, seed=0):
    """(H, W, 3), (H, W) or (H, W, 1) uint8: noise, ramps, and black and white ones."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        height, width = rng.integers(smallest, 34, 2)
        shape = dict(colour=(height, width, 3), grey=(height, width, 1)).get(kind, (height, width))
        low, high = sorted(rng.integers(0, 257, 2)) if number % 4 else (0, 256)
        yield rng.integers(low, max(high, low + 1), shape, dtype=np.uint8)


def build(name, **settings):
    init_default_scope('mmpretrain')
    return TRANSFORMS.build(dict(type=name, **settings))


def run(transform, image, seed=0):
    np.random.seed(seed)
    random.seed(seed)
    shape = image.shape[:2]
    return transform(dict(img=image.copy(), img_shape=shape, ori_shape=shape, gt_label=1))['img']


def same_kind(out, image):
    """A uint8 image of as many channels."""
    assert out.dtype == np.uint8
    assert (out.shape[2:] or (1,)) == (image.shape[2:] or (1,))
    return out.reshape(*out.shape[:2], *image.shape[2:])


def each(function):
    """Apply ``function``, of (H, W), to each channel."""

    def apply(image):
        channels = image[..., None] if image.ndim == 2 else image
        return np.stack([function(channels[..., c]) for c in range(channels.shape[2])], -1).reshape(image.shape)

    return apply


def pillow(function):
    return each(lambda grey: np.asarray(function(Image.fromarray(grey))))
