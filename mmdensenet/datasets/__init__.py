"""Data sets, as mmpretrain's are: a config names one as ``mmdensenet.X``."""

from .digits import Digits
from .load_image import LoadImage

__all__ = ['Digits', 'LoadImage']
