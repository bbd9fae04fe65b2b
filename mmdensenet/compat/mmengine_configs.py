"""Faults of mmengine in how it finds packages and reads configs; its other faults are in :mod:`.mmengine`."""

import importlib.metadata
import importlib.util
import os.path as osp
import sys
from collections.abc import Callable
from types import FunctionType, ModuleType

from .faults import Fault, find, replace_everywhere, uses, wrapping
from .json_data import load_json
from .yaml_data import DataLoader

#: the default scope of our configs
CONFIG_SCOPE = 'mmpretrain'

PACKAGES = Fault(
    what='is_installed and get_installed_path import pkg_resources, and return a folder that does not exist for PEP '
    '660 editable installs',
    versions='mmengine 0.10.7 with setuptools >= 82 (no pkg_resources), or with any editable install of today',
    until='mmengine uses importlib.metadata',
    targets=('mmengine.utils.package_utils:is_installed', 'mmengine.utils.package_utils:get_installed_path'),
    is_repaired=lambda: not uses(find('mmengine.utils.package_utils:is_installed'), 'pkg_resources'),
)


@PACKAGES.repaired_by
def replace_pkg_resources() -> None:
    import mmengine.utils.package_utils as package_utils

    def is_installed(package: str) -> bool:
        """Whether a distribution or a module of this name is installed."""
        try:
            importlib.metadata.distribution(package)
        except importlib.metadata.PackageNotFoundError:
            return _find_package(package) is not None
        return True

    def get_installed_path(package: str) -> str:
        """The folder of a package, by the name of its distribution or of its module."""
        path = _find_package(package)
        if path is None:
            raise ModuleNotFoundError(f'{package} is not installed')
        return path

    replace_everywhere(package_utils.is_installed, is_installed)
    replace_everywhere(package_utils.get_installed_path, get_installed_path)


def _find_package(name: str) -> str | None:
    """The folder of the package named ``name``, or of the package in the distribution of this name."""
    modules = [name]
    try:
        distribution = importlib.metadata.distribution(name)
        listed = (distribution.read_text('top_level.txt') or '').split()
        modules += listed or [m for m, names in importlib.metadata.packages_distributions().items() if name in names]
    except importlib.metadata.PackageNotFoundError:
        pass
    for module in modules:
        try:
            spec = importlib.util.find_spec(module)
        except (ImportError, ValueError):
            continue
        if spec is not None and spec.origin is not None:
            return osp.dirname(spec.origin)
    return None


OUR_CONFIGS = Fault(
    what="`_base_ = 'mmdensenet::x.py'` and mmengine.hub.get_config require a '/' in the path and a package from a "
    "fixed list; each inherited dict gets `_scope_ = 'mmdensenet'`, in which mmpretrain's classes are not found",
    versions='mmengine 0.10.7',
    until='mmengine lets packages register themselves, with the scope of their configs',
    targets=(
        'mmengine.config.utils:MODULE2PACKAGE',
        'mmengine.config.utils:_get_package_and_cfg_path',
        'mmengine.config:Config._get_cfg_path',
    ),
)


@OUR_CONFIGS.repaired_by
def find_our_configs() -> None:
    import mmengine.config.utils as config_utils
    from mmengine.config import Config

    config_utils.MODULE2PACKAGE.setdefault('mmdensenet', 'mmdensenet')

    @wrapping(config_utils, '_get_package_and_cfg_path')
    def split_ours(split: Callable, cfg_path: str) -> tuple[str, str]:
        package, separator, path = cfg_path.partition('::')
        if package != 'mmdensenet' or not separator:
            return split(cfg_path)
        return package, path if path.endswith('.py') else f'{path}.py'

    @wrapping(Config, '_get_cfg_path')
    def locate_ours(locate: Callable, cfg_path: str, filename: str) -> tuple[str, str | None]:
        path, scope = locate(cfg_path, filename)
        return path, CONFIG_SCOPE if scope == 'mmdensenet' else scope


YAML = Fault(
    what='a .yaml config, and any other YAML file, may run code while it is loaded; 1e-3 is read as text and 010 as '
    '8; of duplicate keys the first is lost',
    versions='mmengine 0.10.7',
    until='mmengine reads YAML 1.2, as data',
    targets=('mmengine.fileio.handlers.yaml_handler:Loader',),
)


@YAML.repaired_by
def load_yaml_as_data() -> None:
    from mmengine.fileio.handlers import yaml_handler

    yaml_handler.Loader = DataLoader


JSON = Fault(
    what='of duplicate keys in a .json file the first is lost, and a file with a byte-order mark is refused',
    versions='mmengine 0.10.7',
    until='mmengine reads JSON with object_pairs_hook',
    targets=('mmengine.fileio.handlers.json_handler:JsonHandler.load_from_fileobj',),
)


@JSON.repaired_by
def load_json_with_each_key_once() -> None:
    from mmengine.fileio.handlers.json_handler import JsonHandler

    JsonHandler.load_from_fileobj = lambda self, file: load_json(file)


DATA_CONFIGS = Fault(
    what='a .yaml or .json config may inherit from a .py file, which runs while the config is loaded',
    versions='mmengine 0.10.7',
    until='mmengine lets a caller refuse it',
    targets=('mmengine.config:Config._get_base_files',),
)

STANDARD_LIBRARY = Fault(
    what='a pure-Python config that imports os, json, re or another module of the standard library raises '
    'RuntimeError, because it is taken for a package whose import can wait; a config that contains a module or a '
    'function cannot be copied or written',
    versions='mmengine 0.10.7 with Python 3.11 and newer, and in virtual environments',
    until='mmengine uses sys.stdlib_module_names',
    targets=('mmengine.config.utils:_is_builtin_module', 'mmengine.config:Config.fromfile'),
    is_repaired=lambda: uses(find('mmengine.config.utils:_is_builtin_module'), 'stdlib_module_names'),
)


@STANDARD_LIBRARY.repaired_by
def know_the_standard_library() -> None:
    from mmengine.config import Config

    @wrapping(find('mmengine.config.utils'), '_is_builtin_module')
    def is_builtin_or_standard(is_builtin: Callable, module_name: str) -> bool:
        return module_name.split('.')[0] in sys.stdlib_module_names or is_builtin(module_name)

    @wrapping(Config, 'fromfile')
    def read_values(read: Callable, *args, **kwargs) -> Config:
        cfg = read(*args, **kwargs)
        if hasattr(cfg, '_imported_names'):  # a pure-Python config; mmengine itself removes them from others
            values = cfg._cfg_dict
            for name in [k for k, value in dict.items(values) if isinstance(value, (FunctionType, ModuleType))]:
                del values[name]
        return cfg
