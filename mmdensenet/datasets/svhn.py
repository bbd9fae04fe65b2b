"""Street View House Numbers, cropped digits."""

from pathlib import Path

import numpy as np
from mmpretrain.datasets import BaseDataset

from mmdensenet.errors import UserError
from mmdensenet.registry import DATASETS

SOURCE = 'http://ufldl.stanford.edu/housenumbers/'


@DATASETS.register_module()
class SVHN(BaseDataset):
    """SVHN's 32x32 digits (Netzer et al., 2011), from the .mat files of its authors.

    Args:
        data_root: folder with ``train_32x32.mat`` (73,257 images), ``extra_32x32.mat`` (531,131) and
            ``test_32x32.mat`` (26,032).
        split: 'train', 'extra', 'train+extra' or 'test'.
        pipeline: transforms, as in other data sets of mmengine.

    Each sample has ``img``, (32, 32, 3) uint8 RGB, and ``gt_label``, the digit. (The files write 10 for the digit 0.)
    The images stay in one array, 1.9 GB for 'train+extra', that data loader workers share with the main process.

    Raises:
        UserError: for an unknown split, and for files that are missing or are not SVHN's.
    """

    METAINFO = {'classes': tuple('0123456789')}
    SPLITS = ('train', 'extra', 'train+extra', 'test')

    def __init__(self, data_root: str, split: str = 'train', pipeline=(), **kwargs):
        if split not in self.SPLITS:
            raise UserError(f'dataset.split={split!r}: choose {", ".join(map(repr, self.SPLITS))}')
        self.split = split
        kwargs.setdefault('test_mode', split == 'test')
        super().__init__(ann_file='', data_root=data_root, pipeline=pipeline, **kwargs)

    def load_data_list(self) -> list[dict]:
        parts = [self._read(Path(self.data_root, f'{name}_32x32.mat')) for name in self.split.split('+')]
        self._images = np.concatenate([images for images, _ in parts])
        labels = np.concatenate([labels for _, labels in parts])
        return [dict(sample=i, gt_label=int(label)) for i, label in enumerate(labels)]

    def _read(self, file: Path) -> tuple[np.ndarray, np.ndarray]:
        """Images (N, 32, 32, 3) and labels (N,)."""
        from scipy.io import loadmat

        if not file.is_file():
            raise UserError(f'{file} does not exist. Get {file.name} from {SOURCE} and put it there.')
        try:
            content = loadmat(file)
            images, labels = content['X'], content['y']
            if images.shape[:3] != (32, 32, 3) or images.shape[3] != labels.size:
                raise ValueError(f'X is {images.shape}, y is {labels.shape}')
        except Exception as error:  # scipy's reader raises whatever the bytes lead to
            raise UserError(f'{file} is damaged or not of SVHN ({error}). Get it again from {SOURCE}.') from error
        return np.ascontiguousarray(images.transpose(3, 0, 1, 2)), labels.reshape(-1).astype(int) % 10

    def get_data_info(self, idx: int) -> dict:
        info = super().get_data_info(idx)
        info.update(img=self._images[info['sample']].copy(), img_shape=(32, 32), ori_shape=(32, 32))
        return info

    def extra_repr(self) -> list[str]:
        return [f'Split: \t{self.split}', f'Folder: \t{self.data_root}']
