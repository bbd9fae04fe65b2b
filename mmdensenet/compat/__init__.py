"""Repair what today's torch, numpy and setuptools break in the released OpenMMLab packages.

Importing mmdensenet is all that a user needs. :data:`FAULTS` lists every repair with the fault, the versions that have
it and when the repair can go. A file here is about one package, or one part of it. Measured with mmengine 0.10.7,
mmpretrain 1.2.0, mmcv-lite 2.2.0, torch 2.13, torchvision 0.28 and numpy 2.4 on Python 3.11.

A small repair is made here. A larger one belongs to the part of mmdensenet that it is about, which registers it with
the fault (:meth:`Fault.repaired_by`): nothing here imports the rest of mmdensenet. No warning filter stays changed.

Raises:
    ImportError: without mmengine, mmpretrain, or mmcv or mmcv-lite, or with a torch older than 2.6; the message says
        what to install.
"""

import importlib.util
import logging

import torch as _torch

from . import foundation
from .faults import FAULTS, Fault, replace_everywhere

MINIMUM_TORCH = (2, 6)


def _require_torch() -> None:
    version = tuple(int(part) for part in _torch.__version__.split('+')[0].split('.')[:2])
    if version < MINIMUM_TORCH:
        raise ImportError(
            f'mmdensenet needs torch >= 2.6, found {_torch.__version__}: before it a checkpoint could run code in '
            'spite of weights_only. Run: pip install "torch>=2.6"'
        )


def _require_mmcv() -> None:
    if importlib.util.find_spec('mmcv') is None:
        raise ImportError(
            'mmdensenet needs mmcv or mmcv-lite, and neither is installed. For classification run: '
            'pip install "mmdensenet[lite]". If you also use mmdet, mmseg or mmdet3d, install the full mmcv instead.'
        )


def _require_foundation() -> None:
    """Raise ImportError without one; log the ones found at level INFO."""
    if missing := foundation.what_is_missing():
        raise ImportError(missing)
    log = logging.getLogger('mmdensenet')
    log.info('on %s', foundation.describe())
    for names in foundation.overwritten():
        log.warning('%s bring the same files, one over the other: uninstall both, then install one.', names)


_require_torch()
_require_foundation()
_require_mmcv()

from . import torchvision  # noqa: E402, I001  before anything imports torchvision
from . import mmcv, mmengine, mmengine_configs, mmpretrain, torch  # noqa: E402

__all__ = [
    'FAULTS',
    'MINIMUM_TORCH',
    'Fault',
    'foundation',
    'mmcv',
    'mmengine',
    'mmengine_configs',
    'mmpretrain',
    'replace_everywhere',
    'torch',
    'torchvision',
]
