"""Every transform of mmpretrain and mmcv that a classification config can use does what its documentation says.

On 200 random images of odd sizes, of colour and grey, with both image back ends.
"""

import re
from pathlib import Path

import mmcv
import numpy as np
import pytest
import torch
from mmcv.transforms import TRANSFORMS as MMCV_TRANSFORMS
from mmpretrain.registry import TRANSFORMS
from PIL import ImageFilter, ImageOps
from pixel_transforms import KINDS, build, images, pillow, run, same_kind

#: not for images of a classification config, or tested with what they belong to
ELSEWHERE = {
    *('Albu', 'Albumentations'),  # needs albumentations
    *('BEiTMaskGenerator', 'SimMIMMaskGenerator', 'RandomResizedCropAndInterpolationWithTwoPic', 'MultiView'),
    *('CleanCaption', 'OFAAddObjects', 'MAERandomResizedCrop', 'RandomTranslatePad', 'LoadAnnotations'),
    *('AlbuKeypoint', 'NormalizeKeypointLocation', 'DenormalizeKeypointLocation'),  # of the OneDL forks, for key points
    *('LoadImageFromFile', 'MultiScaleFlipAug', 'PackMultiTaskInputs', 'ApplyToList'),
}


def solarized_add(image, magnitude, threshold):
    wide = image.astype(int)
    return np.where(wide < threshold, np.minimum(wide + magnitude, 255), wide).astype(np.uint8)


#: name, settings -> what it makes of an image, exactly or within 1
KNOWN = [
    ('AutoContrast', dict(prob=1.0), pillow(ImageOps.autocontrast), 1),
    ('Equalize', dict(prob=1.0), pillow(ImageOps.equalize), 0),
    ('Invert', dict(prob=1.0), lambda image: 255 - image, 0),
    ('Solarize', dict(thr=100, prob=1.0), lambda image: np.where(image < 100, image, 255 - image), 0),
    ('Solarize', dict(thr=256, prob=1.0), lambda image: image, 0),
    ('SolarizeAdd', dict(magnitude=110, prob=1.0), lambda image: solarized_add(image, 110, 128), 0),
    ('SolarizeAdd', dict(magnitude=200, thr=250, prob=1.0), lambda image: solarized_add(image, 200, 250), 0),
    ('SolarizeAdd', dict(magnitude=300, thr=250, prob=1.0), lambda image: solarized_add(image, 300, 250), 0),
    ('Posterize', dict(bits=3, prob=1.0), lambda image: image & 0b11100000, 0),
    ('Posterize', dict(bits=0, prob=1.0), np.zeros_like, 0),
    ('Brightness', dict(magnitude=0.5, prob=1.0, random_negative_prob=0.0), lambda x: (x * 1.5).clip(0, 255), 1),
    ('Brightness', dict(magnitude=1.0, prob=1.0, random_negative_prob=1.0), np.zeros_like, 0),
    ('GaussianBlur', dict(radius=2, prob=1.0), pillow(lambda x: x.filter(ImageFilter.GaussianBlur(2))), 0),
    ('RandomFlip', dict(prob=1.0, direction='horizontal'), lambda image: image[:, ::-1], 0),
    ('RandomFlip', dict(prob=1.0, direction='vertical'), lambda image: image[::-1], 0),
    ('RandomFlip', dict(prob=1.0, direction='diagonal'), lambda image: image[::-1, ::-1], 0),
    # what changes nothing
    *((name, dict(magnitude=0.0, prob=1.0), lambda x: x, 0) for name in ('Brightness', 'Contrast', 'Sharpness')),
    ('ColorTransform', dict(magnitude=0.0, prob=1.0), lambda image: image, 1),
    *(
        (name, dict(magnitude=0.0, prob=1.0, direction=way), lambda image: image, 0)
        for name in ('Shear', 'Translate')
        for way in ('horizontal', 'vertical')
    ),
    ('Rotate', dict(angle=0.0, prob=1.0), lambda image: image, 0),
    ('ColorJitter', dict(), lambda image: image, 0),
    ('RandomErasing', dict(erase_prob=0.0), lambda image: image, 0),
    ('RandomGrayscale', dict(prob=0.0), lambda image: image, 0),
    ('RandAugment', dict(policies=[dict(type='Invert', prob=1.0)], num_policies=2, magnitude_level=9), lambda x: x, 0),
    ('AutoAugment', dict(policies=[[dict(type='Invert', prob=1.0)]]), lambda image: 255 - image, 0),
    ('RandomApply', dict(transforms=[dict(type='Invert', prob=1.0)], prob=1.0), lambda image: 255 - image, 0),
    ('RandomChoice', dict(transforms=[[dict(type='Invert', prob=1.0)]]), lambda image: 255 - image, 0),
    ('Compose', dict(transforms=[dict(type='Invert', prob=1.0)]), lambda image: 255 - image, 0),
    ('KeyMapper', dict(transforms=[dict(type='Invert', prob=1.0)]), lambda image: 255 - image, 0),
    ('TransformBroadcaster', dict(transforms=[dict(type='Invert', prob=1.0)], mapping=dict(img=['img', 'other'])),
     None, 0),
]  # fmt: skip


@pytest.fixture(params=['cv2', 'pillow'])
def backend(request):
    before = mmcv.image.io.imread_backend
    mmcv.use_backend(request.param)
    yield request.param
    mmcv.use_backend(before)


@pytest.mark.filterwarnings("ignore:Only use 'alpha' for pillow backend")
@pytest.mark.parametrize('kind', KINDS)
def test_known_values(kind, backend):
    for name, settings, expected, tolerance in KNOWN:
        if expected is None:
            continue
        transform = build(name, **settings)
        for image in images(kind):
            out = same_kind(run(transform, image), image)
            wanted = np.asarray(expected(image))
            assert out.shape == wanted.shape, name
            assert np.abs(out - wanted.astype(float)).max() <= tolerance + (wanted.dtype.kind == 'f'), (name, settings)


RESIZED = [
    ('Resize', dict(scale=(9, 7)), lambda h, w: (7, 9)),
    ('Resize', dict(scale=(40, 20), keep_ratio=True), None),
    ('ResizeEdge', dict(scale=11, edge='short'), lambda h, w: (11, 11 * w // h) if h < w else (11 * h // w, 11)),
    ('RandomResizedCrop', dict(scale=(7, 9)), lambda h, w: (7, 9)),
    ('RandomResizedCrop', dict(scale=8, interpolation='bicubic'), lambda h, w: (8, 8)),
    ('EfficientNetRandomCrop', dict(scale=8), lambda h, w: (8, 8)),
    ('EfficientNetCenterCrop', dict(crop_size=8), lambda h, w: (8, 8)),
]


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('way', ['cv2', 'pillow'])
def test_resizing(kind, way):
    """Shapes are those said, a constant stays constant, and nothing leaves the range of the image's values."""
    for name, settings, shape in RESIZED:
        transform = build(name, backend=way, **settings)
        for number, image in enumerate(images(kind, count=60, smallest=8)):
            out = same_kind(run(transform, image, number), image)
            if shape is not None:
                assert out.shape[:2] == shape(*image.shape[:2]), (name, image.shape)
            flat = np.full_like(image, 200)
            assert (run(transform, flat, number) == 200).all(), name
            assert (out == same_kind(run(transform, image, number), image)).all(), 'the same seed, the same image'
            if settings.get('interpolation') is None and not name.startswith('Eff'):  # bicubic overshoots
                assert image.min() <= out.min() and out.max() <= image.max(), name


CROPPED = [
    ('CenterCrop', dict(crop_size=6), 0),
    ('CenterCrop', dict(crop_size=40, auto_pad=True, pad_cfg=dict(type='Pad', pad_val=77)), 77),
    ('RandomCrop', dict(crop_size=6), 0),
    ('RandomCrop', dict(crop_size=40, pad_if_needed=True, pad_val=77), 77),
    ('RandomCrop', dict(crop_size=5, padding=[2, 3, 4, 5], pad_val=77), 77),
    ('Pad', dict(size=(40, 36), pad_val=77), 77),
    ('Cutout', dict(shape=5, pad_val=77, prob=1.0), 77),
    ('RandomErasing', dict(erase_prob=1.0, fill_color=77), 77),
    ('Rotate', dict(angle=33.0, pad_val=77, prob=1.0), 77),
    ('Translate', dict(magnitude=0.3, pad_val=77, prob=1.0), 77),
    ('Shear', dict(magnitude=0.3, pad_val=77, prob=1.0, interpolation='nearest'), 77),
    *((name, dict(magnitude=0.3, pad_val=77, prob=1.0, direction='vertical'), 77) for name in ('Translate',)),
]


@pytest.mark.parametrize('kind', KINDS)
def test_every_pixel_is_of_the_image_or_the_padding(kind):
    """A white image has white pixels and, in all channels, those of the padding, and nothing else."""
    for name, settings, padding in CROPPED:
        transform, padded = build(name, **settings), 0
        for number, image in enumerate(images(kind, count=60, smallest=7)):
            out = same_kind(run(transform, np.full_like(image, 255), number), image)
            pixels = out.reshape(-1, out.shape[2] if out.ndim == 3 else 1)
            is_padding, is_image = (pixels == padding).all(1), (pixels == 255).all(1)
            assert (is_padding | is_image).all(), (name, np.unique(pixels, axis=0))
            padded += is_padding.any()
            again = run(transform, image, number)
            assert (again == run(transform, image, number)).all(), 'the same seed, the same image'
        assert (padded > 0) == bool(padding), name


def test_lists_of_padding_values():
    image = np.full((9, 11, 3), 255, np.uint8)
    for name, settings in (
        ('Rotate', dict(angle=45.0, prob=1.0)),
        ('RandomCrop', dict(crop_size=20, padding=8)),
        ('Shear', dict(magnitude=0.5, prob=1.0, interpolation='nearest')),
    ):
        colours = np.unique(run(build(name, pad_val=[10, 20, 30], **settings), image).reshape(-1, 3), axis=0)
        assert colours.tolist() == [[10, 20, 30], [255, 255, 255]], name


@pytest.mark.filterwarnings("ignore:Only use 'alpha' for pillow backend")
@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('way', ['cv2', 'pillow'])
def test_colour_jitter(kind, way):
    """Each part within its range on all images, the same with the same seed; grey images have no colour to change."""
    parts = dict(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.5)
    for settings in (*({key: value} for key, value in parts.items()), parts):
        jitter, changed = build('ColorJitter', backend=way, **settings), 0
        for number, image in enumerate(images(kind)):
            out = same_kind(run(jitter, image, number), image)
            assert (out == run(jitter, image, number).reshape(out.shape)).all()
            changed += (out != image).any()
            if 'brightness' in settings and len(settings) == 1:
                assert (out >= image * 0.6 - 1).all() and (out <= np.minimum(image * 1.4, 255) + 1).all()
        only_colour = settings.keys() <= {'saturation', 'hue'}
        assert changed == 0 if only_colour and kind != 'colour' else changed > 150, settings


@pytest.mark.filterwarnings("ignore:Only use 'alpha' for pillow backend")
@pytest.mark.parametrize('kind', KINDS)
def test_whole_policies(kind, backend):
    """AutoAugment's and RandAugment's own policies run on all images, and give the same with the same seed."""
    for transform in (
        build('AutoAugment', policies='imagenet'),
        build('RandAugment', policies='timm_increasing', num_policies=3, magnitude_level=9, magnitude_std=0.5),
        build('RandAugment', policies='simple_increasing', num_policies=2, magnitude_level=10, magnitude_std='inf'),
    ):
        for number, image in enumerate(images(kind)):
            out = same_kind(run(transform, image, number), image)
            assert out.shape == image.shape
            assert (out == same_kind(run(transform, image, number), image)).all()


def test_what_is_not_pixels():
    """Normalising, packing, conversion to PIL and to tensors, and the wrappers that choose."""
    mean, std = [10.0, 20.0, 30.0], [2.0, 4.0, 5.0]
    for image in images('colour', count=60):
        out = run(build('Normalize', mean=mean, std=std, to_rgb=True), image)
        assert out.dtype == np.float32 and np.allclose(out, (image[..., ::-1] - np.array(mean)) / std, atol=1e-4)
        both = build('Compose', transforms=[dict(type='NumpyToPIL', to_rgb=True), dict(type='PILToNumpy', to_bgr=True)])
        assert (run(both, image) == image).all()
        assert (run(build('Transpose', keys=['img'], order=[2, 0, 1]), image) == image.transpose(2, 0, 1)).all()
    for kind in KINDS:
        for image in images(kind, count=60):
            packed = build('PackInputs')(dict(img=image, gt_label=1))
            assert packed['inputs'].dtype == torch.uint8
            assert (packed['inputs'].numpy() == np.atleast_3d(image).transpose(2, 0, 1)).all()
            chosen = build('RandomChoiceResize', scales=[(5, 6), (7, 8)])
            assert run(chosen, image).shape[:2] in ((6, 5), (8, 7))
            resized = build('RandomResize', scale=(20, 10), ratio_range=(0.5, 2.0))
            height, width = run(resized, image).shape[:2]
            assert 10 <= width <= 40 and 5 <= height <= 20
    tensors = build('ImageToTensor', keys=['img'])(dict(img=np.zeros((4, 5, 3), np.uint8)))
    assert tensors['img'].shape == (3, 4, 5)
    assert build('ToTensor', keys=['x'])(dict(x=np.arange(3)))['x'].tolist() == [0, 1, 2]
    assert set(build('Collect', keys=('img',))(dict(img=1, gt_label=2))) == {'img'}
    augmented = build(
        'TestTimeAug',
        transforms=[[dict(type='RandomFlip', prob=1.0), dict(type='RandomFlip', prob=0.0)], [dict(type='PackInputs')]],
    )(dict(img=np.arange(6, dtype=np.uint8).reshape(2, 3)))
    assert augmented['inputs'][0].flip(-1).equal(augmented['inputs'][1])


def test_no_transform_is_forgotten():
    files = [Path(__file__), *(Path(__file__).with_name(f'test_{name}.py') for name in ('mmcv', 'mmpretrain'))]
    text = [name for file in files for name in re.findall(r"['(](\w+)'", file.read_text(encoding='utf-8'))]
    names = {name for name in (*TRANSFORMS.module_dict, *MMCV_TRANSFORMS.module_dict) if '/' not in name}
    assert names - set(text) - {'ToPIL', 'ToNumpy'} == set()
