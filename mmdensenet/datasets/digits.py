"""scikit-learn's handwritten digits."""

import numpy as np
from mmpretrain.datasets import BaseDataset

from mmdensenet.errors import UserError
from mmdensenet.registry import DATASETS


@DATASETS.register_module()
class Digits(BaseDataset):
    """1,797 handwritten digits of 8x8 grey pixels, which come with scikit-learn (Alpaydin and Kaynak, UCI, 1998).

    A quarter of each class is held out, always the same one.

    Args:
        split: 'train' (1,347 images) or 'test' (450).
        pipeline: transforms, as in other data sets of mmengine.

    Each sample has ``img``, (8, 8, 1) uint8 with values 0 to 255, and ``gt_label``, 0 to 9.
    """

    METAINFO = {'classes': tuple('0123456789')}

    def __init__(self, split: str = 'train', pipeline=(), **kwargs):
        if split not in ('train', 'test'):
            raise UserError(f"dataset.split={split!r}: choose 'train' or 'test'")
        self.split = split
        super().__init__(ann_file='', pipeline=pipeline, test_mode=split == 'test', **kwargs)

    def load_data_list(self) -> list[dict]:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

        digits = load_digits()
        images = np.round(digits.images * (255 / 16)).astype(np.uint8)[..., None]
        parts = train_test_split(images, digits.target, test_size=0.25, stratify=digits.target, random_state=0)
        images, labels = (parts[0], parts[2]) if self.split == 'train' else (parts[1], parts[3])
        shape = images.shape[1:3]
        return [
            dict(img=image, gt_label=int(label), img_shape=shape, ori_shape=shape)
            for image, label in zip(images, labels)
        ]

    def extra_repr(self) -> list[str]:
        return [f'Split: \t{self.split}']
