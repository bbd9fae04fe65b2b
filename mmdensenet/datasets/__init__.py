"""Data sets, as mmpretrain's are, and how to read and sample them: a config names one as ``mmdensenet.X``."""

from .balanced_sampler import BalancedSampler
from .csv_dataset import CSVDataset
from .digits import Digits
from .grey_image import LoadGreyImage
from .load_image import LoadImage
from .shard_dataset import ShardDataset
from .splits import assign_parts
from .svhn import SVHN
from .trivial_augment import TrivialAugment

__all__ = [
    'SVHN',
    'BalancedSampler',
    'CSVDataset',
    'Digits',
    'LoadGreyImage',
    'LoadImage',
    'ShardDataset',
    'TrivialAugment',
    'assign_parts',
]
