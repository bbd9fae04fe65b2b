"""Resizing and cropping in a graph are those of the test pipeline."""

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from mmpretrain.registry import TRANSFORMS

from mmdensenet.export.resample import NotInGraphError, Resample, resizes_and_crops

CROP = dict(type='CenterCrop', crop_size=24)
PIPELINES = {
    'short edge': [dict(type='ResizeEdge', scale=29), CROP],
    'enlarged': [dict(type='ResizeEdge', scale=117), dict(type='CenterCrop', crop_size=(92, 117))],
    'no crop': [dict(type='Resize', scale=(30, 26))],
    'resize and crop': [dict(type='Resize', scale=(40, 26)), dict(type='CenterCrop', crop_size=(24, 11))],
    'crop and resize': [dict(type='ResizeEdge', scale=25), CROP, dict(type='Resize', scale=31)],
}
SIZES = [(58, 58), (40, 77), (77, 40), (29, 300), (26, 30), (231, 117), (1000, 701)]


def pixels_of(pipeline: list, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Of the graph and of the pipeline, for a smooth image with noise and edges."""
    init_default_scope('mmpretrain')
    rng = np.random.default_rng(size[0])
    y, x = np.mgrid[: size[0], : size[1]]
    image = 127 + 90 * np.sin(x / 9 + y / 5)[..., None] + rng.normal(0, 25, (*size, 3))
    image = np.clip(image + 200 * (x > y)[..., None], 0, 255).astype(np.uint8)
    given = torch.from_numpy(image)[None]
    for step in resizes_and_crops(pipeline):
        given = Resample(step)(given)
    results = dict(img=image, img_shape=size)
    for step in pipeline:
        results = TRANSFORMS.build(step)(results)
    return given[0].numpy(), results['img'].astype(np.float32)


@pytest.mark.parametrize('name', PIPELINES)
def test_opencv_to_the_bit(name):
    for size in SIZES:
        given, wanted = pixels_of(PIPELINES[name], size)
        np.testing.assert_array_equal(given, wanted, err_msg=str(size))


@pytest.mark.parametrize(
    'how', [dict(interpolation='bicubic'), dict(backend='pillow'), dict(backend='pillow', interpolation='bicubic')]
)
def test_others_to_one_grey_level(how):
    for size in SIZES:
        given, wanted = pixels_of([dict(type='ResizeEdge', scale=29, **how), CROP], size)
        assert np.abs(given - wanted).max() <= 1 and (given != wanted).mean() < 0.06, size


@pytest.mark.parametrize(
    ('pipeline', 'message'),
    [
        (
            [dict(type='ResizeEdge', scale=9, backend='pillow', interpolation='box'), CROP],
            r"1 of .*'box' with 'pillow'",
        ),
        ([dict(type='LoadImageFromFile'), dict(type='Rotate', angle=9)], r'Rotate \(step 2 of the test pipeline\)'),
        ([dict(type='ResizeEdge', scale=29)], 'several sizes'),
        ([dict(type='ResizeEdge', scale=23), CROP], 'larger than what the resize'),
        ([CROP], r'CenterCrop \(step 1 .* smaller'),
        ([dict(type='ResizeEdge', scale=29, edge='long'), CROP], "edge='long'"),
        ([dict(CROP, efficientnet_style=True)], 'efficientnet_style'),
        ([dict(type='Resize', scale=(9, 9), keep_ratio=True)], 'keep_ratio'),
    ],
)
def test_what_cannot_be_in_a_graph_is_named(pipeline, message):
    with pytest.raises(NotInGraphError, match=message):
        resizes_and_crops(pipeline)
