"""Data sets, as mmpretrain's are: a config names one as ``mmdensenet.X``."""

from .digits import Digits

__all__ = ['Digits']
