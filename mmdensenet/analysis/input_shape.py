"""The shape of the images for a config's model."""

from collections.abc import Sequence

from mmengine.config import Config

from mmdensenet.datasets.wrappers import leaf_configs
from mmdensenet.errors import UserError

#: height and width of data sets whose pipeline does not resize
KNOWN_SIZES = {
    **dict.fromkeys(('CIFAR10', 'CIFAR100', 'SVHN'), (32, 32)),
    **dict.fromkeys(('MNIST', 'FashionMNIST'), (28, 28)),
    'Digits': (8, 8),
}
#: the key that sets the size in each step: a number means a square, a pair (height, width), in Resize (width, height)
SIZE_KEYS = {
    'CenterCrop': 'crop_size',
    'RandomCrop': 'crop_size',
    'RandomResizedCrop': 'scale',
    'EfficientNetCenterCrop': 'crop_size',
    'EfficientNetRandomCrop': 'scale',
    'Resize': 'scale',
}


def input_shape(cfg: Config, size: Sequence[int] | None = None) -> tuple[int, int, int]:
    """(C, H, W) of one image.

    Args:
        size: height and width, or one number for a square. None reads them from the last step that sets them in the
            test or else the training pipeline, or else from the type of the data set.

    Raises:
        UserError: if the config does not determine the size.
    """
    channels = cfg.model.backbone.get('in_channels', 3)
    if size:
        return channels, size[0], size[-1]
    for key in ('test_dataloader', 'val_dataloader', 'train_dataloader'):
        _, dataset = next(leaf_configs((cfg.get(key) or {}).get('dataset')), ('', {}))
        found = _size_of_pipeline(dataset.get('pipeline') or ()) or KNOWN_SIZES.get(_name(dataset))
        if found:
            return channels, *found
    raise UserError(
        "the config does not determine the size of the model's images: give `size`, their height and width."
    )


def _name(entry: dict) -> str:
    return str(entry.get('type')).rpartition('.')[2]


def _size_of_pipeline(pipeline: Sequence[dict]) -> tuple[int, int] | None:
    for step in reversed(pipeline):
        value = step.get(SIZE_KEYS.get(_name(step), ''))
        if isinstance(value, int):
            return value, value
        if value:
            # mmcv's Resize takes width and height, the crops height and width
            return tuple(value[::-1]) if _name(step) == 'Resize' else tuple(value)
    return None
