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

#: of mmdensenet.apis, which imports mmpretrain and so takes seconds: imported when it is asked for
_APIS = ('get_model', 'inference', 'list_models')

__all__ = ['__version__', 'models', 'registry', *_APIS]


def __getattr__(name: str):
    if name in _APIS:
        from . import apis

        return getattr(apis, name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__() -> list[str]:
    return sorted({*globals(), *_APIS})
