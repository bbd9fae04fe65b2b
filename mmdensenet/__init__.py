"""mmdensenet: DenseNet image classification on OpenMMLab.

Importing it makes today's versions work (:mod:`mmdensenet.compat`) and the ``mmdensenet`` scope known to mmengine's
registries, so that ``type='mmdensenet.DenseNet'`` builds in any project and ``_base_ = 'mmdensenet::...'`` is found.
"""

from . import compat  # first: it declares what torchvision lacks before anything imports torchvision

# isort: split
from . import models, registry
from .ops.show_engine import show_engine
from .version import __version__

# isort: split
# these register their repairs with compat
from . import data_repairs  # noqa: F401
from .checkpoints import checkpoint_sources, keep_checkpoints, work_dir, writing  # noqa: F401
from .convert import on_load  # noqa: F401
from .training import amp  # noqa: F401

#: of mmdensenet.apis, which imports mmpretrain and so takes seconds: imported when it is asked for
_APIS = ('fit', 'get_model', 'inference', 'list_models')

__all__ = ['__version__', 'compat', 'models', 'registry', 'show_engine', *_APIS]


def __getattr__(name: str):
    if name in _APIS:
        from . import apis

        if name == 'fit':  # of a package of its own, with the function's name
            from .apis.fit import fit

            return fit
        return getattr(apis, name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__() -> list[str]:
    return sorted({*globals(), *_APIS})
