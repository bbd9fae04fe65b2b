"""The quick steps make mmpretrain's pixels from the same draws, and draw from the same distributions."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmpretrain.datasets.transforms import PackInputs, RandomCrop, RandomFlip, RandomResizedCrop
from scipy.stats import ks_2samp

from mmdensenet.datasets.quick_steps import QUICK, QuickCrop, QuickFlip, QuickResizedCrop, quicken_steps
from mmdensenet.datasets.uniforms import current, uniforms_of

GENERATOR = np.random.default_rng(0)
COLOUR = GENERATOR.integers(0, 256, (47, 61, 3), np.uint8)
GREY = COLOUR[..., 0]
STEPS = [
    RandomResizedCrop(24),
    RandomResizedCrop((20, 30), interpolation='bicubic'),
    RandomResizedCrop(24, backend='pillow'),
    RandomResizedCrop(24, crop_ratio_range=(2.0, 3.0)),  # never fits
    RandomCrop(32, padding=4),
    RandomCrop(32),
    RandomCrop((80, 90), padding=4, pad_val=7),
    RandomFlip(0.5, 'horizontal'),
    RandomFlip(0.5, 'vertical'),
    RandomFlip([0.3, 0.3], ['horizontal', 'vertical']),
]


def quick(step):
    found = copy.copy(step)
    found.__class__ = QUICK[type(step)]
    return found


def run(step, image, seed):
    np.random.seed(seed)
    return step.transform(dict(img=image.copy()))


@pytest.mark.parametrize('image', [COLOUR, GREY, COLOUR.astype(np.float32)], ids=['colour', 'grey', 'float'])
@pytest.mark.parametrize('step', STEPS, ids=repr)
def test_with_numpys_generator_all_is_mmpretrains(step, image):
    if image.dtype != np.uint8 and getattr(step, 'backend', '') == 'pillow':
        image = image.astype(np.uint8)  # Pillow takes no other
    for seed in range(8):
        expected, found = run(step, image, seed), run(quick(step), image, seed)
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            assert np.array_equal(found[key], value), key
        after = np.random.rand()
        run(step, image, seed)
        assert np.random.rand() == after, 'as many numbers are drawn'


def boxes_of(step, numbers, shape=(47, 61)):
    """(N, 4): the crop of each of ``numbers``, which an image of coordinates shows."""
    rows = []
    for number in range(numbers):
        with uniforms_of((number,)):
            rows.append(step._box(*shape, current()))
    return np.array(rows)


@pytest.mark.parametrize('shape', [(47, 61), (20, 90), (90, 20)])
def test_resized_crops_have_mmpretrains_distribution(shape):
    own = boxes_of(QuickResizedCrop(24), 4000, shape)
    np.random.seed(1)
    reference = RandomResizedCrop(24)
    theirs = np.array([reference.rand_crop_params(np.empty(shape)) for _ in range(4000)])
    for name, a, b in zip(('top', 'left', 'height', 'width'), own.T, theirs.T):
        assert ks_2samp(a, b).pvalue > 1e-4, name
    assert (own >= 0).all() and (own[:, 0] + own[:, 2] <= shape[0]).all() and (own[:, 1] + own[:, 3] <= shape[1]).all()


def test_a_crop_that_never_fits_is_mmpretrains():
    for shape in [(47, 61), (20, 90), (90, 20)]:
        step = QuickResizedCrop(24, crop_ratio_range=(2.0, 3.0))
        assert tuple(boxes_of(step, 1, shape)[0]) == step.rand_crop_params(np.empty(shape))


def test_crops_and_flips_from_uniforms_are_cuts_of_the_image():
    """Every place of the padded image is drawn equally often, and the pixels are those of padding and cutting."""
    image = COLOUR[:8, :8]
    padded = np.pad(image, ((2, 2), (2, 2), (0, 0)), constant_values=9)
    places = {padded[y : y + 8, x : x + 8].tobytes(): (y, x) for y in range(5) for x in range(5)}
    counts, flips = np.zeros((5, 5)), 0
    crop, flip = QuickCrop(8, padding=2, pad_val=9), QuickFlip(0.25, 'horizontal')
    for number in range(5000):
        with uniforms_of((number,)):
            cut = crop.transform(dict(img=image))
            counts[places[cut['img'].tobytes()]] += 1
            before = cut['img']
            done = flip.transform(cut)
        flips += done['flip']
        assert np.array_equal(done['img'], before[:, ::-1] if done['flip'] else before)
        assert done['flip_direction'] == ('horizontal' if done['flip'] else None)
    assert ((counts - 200) ** 2 / 200).sum() < 52, 'chi-squared of 24 degrees of freedom, p > 1e-3'
    assert abs(flips - 1250) < 4 * (5000 * 0.25 * 0.75) ** 0.5


@pytest.mark.parametrize(
    'image', [COLOUR, GREY, COLOUR[:, ::-1], COLOUR[3:9, 4:9]], ids=['whole', 'grey', 'flip', 'view']
)
@pytest.mark.parametrize('label', [3, np.array([1, 2]), None])
def test_packed_samples_are_mmpretrains(image, label):
    results = dict(img=image, img_path='a.jpg', ori_shape=(1, 2), flip=True, sample_idx=5, other=1)
    results |= {} if label is None else dict(gt_label=label)
    expected, found = PackInputs().transform(dict(results)), quick(PackInputs()).transform(dict(results))
    assert torch.equal(found['inputs'], expected['inputs']) and found['inputs'].is_contiguous()
    a, b = found['data_samples'], expected['data_samples']
    assert dict(a.metainfo_items()) == dict(b.metainfo_items()) and a.keys() == b.keys()
    assert label is None or (torch.equal(a.gt_label, b.gt_label) and a.gt_label.dtype == b.gt_label.dtype)
    assert str(a.clone()).partition(') at')[0] == str(b.clone()).partition(') at')[0]


def test_only_mmpretrains_own_classes_are_replaced():
    class Mine(RandomFlip):
        pass

    flip, mine = RandomFlip(0.5), Mine(0.5)
    data = SimpleNamespace(pipeline=SimpleNamespace(transforms=[flip, mine, len]))
    quicken_steps(data)
    assert [type(step) for step in data.pipeline.transforms[:2]] == [QuickFlip, Mine]
    assert type(flip) is RandomFlip and data.pipeline.transforms[1:] == [mine, len]


@pytest.mark.parametrize('step', STEPS, ids=repr)
@pytest.mark.parametrize('image', [COLOUR, GREY, COLOUR.astype(np.float32)], ids=['colour', 'grey', 'float'])
def test_a_samples_numbers_decide_whatever_the_image_is(step, image):
    """Also where mmpretrain's step is taken; and numpy's generator is left alone."""
    if image.dtype != np.uint8 and getattr(step, 'backend', '') == 'pillow':
        image = image.astype(np.uint8)
    results = []
    for seed in (0, 1):
        np.random.seed(seed)
        before = np.random.get_state()[1].copy()
        with uniforms_of((3, 4)):
            results.append(quick(step).transform(dict(img=image.copy())))
        assert np.array_equal(np.random.get_state()[1], before)
    assert np.array_equal(results[0]['img'], results[1]['img'])
    assert results[0]['img'].dtype == image.dtype and results[0]['img'].ndim == image.ndim


def test_boxes_are_flipped_with_their_image():
    for seed in range(8):
        with uniforms_of((seed,)):
            found = quick(RandomFlip(0.5, 'horizontal')).transform(
                dict(img=COLOUR.copy(), img_shape=COLOUR.shape[:2], gt_bboxes=np.float32([[1, 2, 11, 22]]))
            )
        expected = [[50, 2, 60, 22]] if found['flip'] else [[1, 2, 11, 22]]
        assert np.array_equal(found['gt_bboxes'], expected)
        assert np.array_equal(found['img'], COLOUR[:, ::-1] if found['flip'] else COLOUR)
