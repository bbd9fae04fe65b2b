"""Data sets, as mmpretrain's are: a config names one as ``mmdensenet.X``."""

from .digits import Digits
from .svhn import SVHN

__all__ = ['SVHN', 'Digits']
