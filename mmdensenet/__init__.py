"""mmdensenet: DenseNet image classification on OpenMMLab.

Importing it makes today's versions work (:mod:`mmdensenet.compat`) and the ``mmdensenet`` scope known to mmengine's
registries, so that ``type='mmdensenet.DenseNet'`` builds in any project and ``_base_ = 'mmdensenet::...'`` is found.
"""

from . import compat
from .version import __version__

compat.apply()

from . import models, registry  # noqa: E402
from .convert import on_load  # noqa: E402

on_load.install()

__all__ = ['__version__', 'models', 'registry']
