"""TrivialAugment (arXiv:2103.10158), of mmpretrain's operations."""

from mmpretrain.datasets.transforms import RandAugment

from mmdensenet.registry import TRANSFORMS

_BOTH = ('horizontal', 'vertical')


@TRANSFORMS.register_module()
class TrivialAugment(RandAugment):
    """One operation for each image, with a strength from nothing to its largest; nothing is to be tuned.

    The operations and strengths are the paper's wide ones (table 7), as torchvision has them.

    Args:
        size: side of the images, of which 32 pixels are the largest translation.
        pad_val: what comes into the image where it is moved.
    """

    def __init__(self, size: int = 224, pad_val: int = 0):
        operations = [
            dict(type='Brightness', magnitude_range=(0, 0), prob=0.0),  # leaves the image as it is
            *(dict(type='Shear', magnitude_range=(0, 0.99), direction=along) for along in _BOTH),
            *(dict(type='Translate', magnitude_range=(0, 32 / size), direction=along) for along in _BOTH),
            dict(type='Rotate', magnitude_range=(0, 135)),
            *(
                dict(type=kind, magnitude_range=(0, 0.99))
                for kind in ('Brightness', 'ColorTransform', 'Contrast', 'Sharpness')
            ),
            dict(type='Posterize', magnitude_range=(8, 2)),
            dict(type='Solarize', magnitude_range=(255, 0)),
            dict(type='AutoContrast'),
            dict(type='Equalize'),
        ]
        super().__init__(
            policies=[dict(dict(prob=1.0), **operation) for operation in operations],
            num_policies=1,
            total_level=10,
            magnitude_level=10,
            magnitude_std='inf',  # mmpretrain's word for uniformly from 0 to the level
            hparams=dict(pad_val=pad_val),
        )

    def __repr__(self) -> str:
        return f'{type(self).__name__}({len(self.policies)} operations)'
