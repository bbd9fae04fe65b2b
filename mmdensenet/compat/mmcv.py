"""Faults of mmcv's image operations, which the transforms of every OpenMMLab package call, and of its import."""

import sys
import warnings
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from importlib.machinery import SourceFileLoader

import cv2
import mmcv.image
import numpy as np
from PIL import Image

from .faults import Fault, wrapping

HUE = Fault(
    what="ColorJitter's hue raises OverflowError for half of the images, because adjust_hue converts a negative "
    'number to uint8',
    versions='mmcv 2.2.0 with numpy >= 2',
    until='mmcv takes the shift modulo 256',
    targets=('mmcv.image.photometric:adjust_hue',),
)
CHANNELS = Fault(
    what='a single number as padding value fills only the first channel of a colour image (Rotate, RandomCrop), and a '
    'list raises',
    versions='mmcv 2.2.0',
    until='mmcv passes OpenCV a value for each channel',
    targets=('mmcv.image.geometric:impad', 'mmcv.image.geometric:imrotate'),
)
LIGHTING = Fault(
    what="Lighting's noise overflows: dark pixels become white and white ones black",
    versions='mmcv 2.2.0 with mmpretrain 1.2.0',
    until='adjust_lighting keeps 8-bit images within 0 to 255',
    targets=('mmcv.image.photometric:adjust_lighting',),
)
GREY = Fault(
    what="brightness, contrast, colour, hue, AutoContrast and Equalize raise for grey images, and so does Pillow's "
    'resizing of (H, W, 1)',
    versions='mmcv 2.2.0',
    until='mmcv accepts images with one channel',
    targets=tuple(
        f'mmcv.image.photometric:{name}'
        for name in (
            *('adjust_brightness', 'adjust_contrast', 'adjust_color', 'adjust_hue', 'adjust_sharpness'),
            *('auto_contrast', 'imequalize'),
        )
    )
    + ('mmcv.image.geometric:imresize',),
)
ROUNDING = Fault(
    what='RandomGrayscale makes some grey values, such as 7 and 254, darker by one',
    versions='mmcv 2.2.0',
    until='mmcv rounds',
    targets=('mmcv.transforms.processing:RandomGrayscale.transform',),
)
MISSING_OPERATION = Fault(
    what='importing mmpretrain warns that mmcv-lite lacks MultiScaleDeformableAttention, an operation of detectors',
    versions='mmcv-lite 2.1 and 2.2',
    until='mmcv-lite warns only those who use the operation',
    targets=('importlib.machinery:SourceFileLoader.exec_module',),
)


def through_colour(operation: Callable, img: np.ndarray, *args, **kwargs) -> np.ndarray:
    """An operation of grey images too, (H, W) or (H, W, 1): on three equal channels, of which it returns one."""
    if img.ndim == 3 and img.shape[2] != 1:
        return operation(img, *args, **kwargs)
    grey = img if img.ndim == 2 else img[..., 0]
    result = operation(np.stack([grey] * 3, -1), *args, **kwargs)[..., 0]
    return np.ascontiguousarray(result.reshape(img.shape))


@HUE.repaired_by
def shift_hue_modulo() -> None:
    @wrapping(mmcv.image.photometric, 'adjust_hue')
    def adjust_hue(old: Callable, img: np.ndarray, hue_factor: float, backend: str | None = None) -> np.ndarray:
        if not isinstance(img, np.ndarray) or img.ndim not in (2, 3) or not -0.5 <= hue_factor < 0:
            return old(img, hue_factor, backend)  # which checks its arguments
        shift = np.uint8(int(hue_factor * 255) % 256)
        if (backend or mmcv.image.io.imread_backend) == 'pillow':
            hue, *rest = Image.fromarray(np.ascontiguousarray(img[..., ::-1])).convert('HSV').split()
            hue = Image.fromarray(np.asarray(hue) + shift)
            return np.asarray(Image.merge('HSV', (hue, *rest)).convert('RGB'))[..., ::-1].astype(img.dtype)
        hsv = cv2.cvtColor(img.astype(np.uint8), cv2.COLOR_BGR2HSV_FULL)
        hsv[..., 0] += shift
        return cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR_FULL).astype(img.dtype)


@CHANNELS.repaired_by
def pad_every_channel() -> None:
    def for_each_channel(value, img: np.ndarray):
        if isinstance(value, list):
            value = tuple(value)
        one = isinstance(value, (int, float, np.number))
        return (value,) * img.shape[2] if one and img.ndim == 3 and img.shape[2] <= 4 else value

    @wrapping(mmcv.image.geometric, 'impad')
    def impad(
        old: Callable, img: np.ndarray, *, shape=None, padding=None, pad_val=0, padding_mode='constant'
    ) -> np.ndarray:
        padding = tuple(padding) if isinstance(padding, list) else padding
        value = for_each_channel(pad_val, img)
        return old(img, shape=shape, padding=padding, pad_val=value, padding_mode=padding_mode)

    @wrapping(mmcv.image.geometric, 'imrotate')
    def imrotate(old: Callable, img: np.ndarray, angle, center=None, scale=1.0, border_value=0, *args, **kwargs):
        return old(img, angle, center, scale, for_each_channel(border_value, img), *args, **kwargs)


@LIGHTING.repaired_by
def clip_lighting() -> None:
    @wrapping(mmcv.image.photometric, 'adjust_lighting')
    def adjust_lighting(old: Callable, img: np.ndarray, *args, **kwargs) -> np.ndarray:
        adjusted = old(img, *args, **kwargs)
        return adjusted.clip(0, 255) if img.dtype == np.uint8 else adjusted


@GREY.repaired_by
def take_grey_images() -> None:
    for target in GREY.targets[:-1]:
        wrapping(mmcv.image.photometric, target.partition(':')[2])(through_colour)

    @wrapping(mmcv.image.geometric, 'imresize')
    def imresize(old: Callable, img: np.ndarray, *args, **kwargs):
        if img.ndim == 3 and img.shape[2] == 1:
            result = old(img[..., 0], *args, **kwargs)
            return (result[0][..., None], *result[1:]) if isinstance(result, tuple) else result[..., None]
        return old(img, *args, **kwargs)


@ROUNDING.repaired_by
def round_grey() -> None:
    from mmcv.transforms.processing import RandomGrayscale

    @wrapping(RandomGrayscale, 'transform')
    def transform(old: Callable, self, results: dict) -> dict:
        if results['img'].dtype == np.uint8 and self.color_format != 'hsv':
            results['img'] = results['img'] + 0.5  # it truncates
        return old(self, results)


class _QuietFinder(MetaPathFinder):
    """An import finder for one module, which runs the module without its warning."""

    def find_spec(self, fullname, path=None, target=None):
        if fullname != 'mmcv.cnn.bricks.transformer':
            return None
        for finder in sys.meta_path:
            if finder is not self and (spec := finder.find_spec(fullname, path, target)) is not None:
                if type(spec.loader) is SourceFileLoader:
                    spec.loader = _QuietLoader(spec.loader.name, spec.loader.path)
                return spec
        return None


class _QuietLoader(SourceFileLoader):
    def exec_module(self, module):
        with warnings.catch_warnings():
            warnings.filterwarnings('ignore', 'Fail to import ``MultiScaleDeformableAttention``')
            super().exec_module(module)


@MISSING_OPERATION.repaired_by
def import_transformers_quietly() -> None:
    """Suppress the warning at the module's import, without importing it: a program may bring its own ``mmcv.ops``."""
    sys.meta_path.insert(0, _QuietFinder())
