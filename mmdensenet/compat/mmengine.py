"""Faults of mmengine. What is small is repaired here; who owns a larger replacement registers it.

mmengine's functions are replaced by ones that do the same and more.
"""

import functools
import importlib.metadata
import importlib.util
import os.path as osp
import sys
import time
from collections.abc import Callable
from types import FunctionType, ModuleType

import torch

from .faults import Fault, find, replace_everywhere, uses
from .yaml_data import DataLoader

#: the default scope of our configs
CONFIG_SCOPE = 'mmpretrain'

# ---------------------------------------------------------------------------------------------------------------------
# Installation and configs

PACKAGES = Fault(
    what='is_installed and get_installed_path import pkg_resources, and give a folder that does not exist for PEP 660 '
    'editable installs',
    versions='mmengine 0.10.7 with setuptools >= 82 (no pkg_resources), or with any editable install of today',
    until='mmengine uses importlib.metadata',
    targets=('mmengine.utils.package_utils:is_installed', 'mmengine.utils.package_utils:get_installed_path'),
    is_repaired=lambda: not uses(find('mmengine.utils.package_utils:is_installed'), 'pkg_resources'),
)


@PACKAGES.repaired_by
def replace_pkg_resources() -> None:
    import mmengine.utils.package_utils as package_utils

    def is_installed(package: str) -> bool:
        """Whether a distribution or a module of this name is there."""
        try:
            importlib.metadata.distribution(package)
        except importlib.metadata.PackageNotFoundError:
            return _find_package(package) is not None
        return True

    def get_installed_path(package: str) -> str:
        """Folder of the package, by the name of its distribution or of its module."""
        path = _find_package(package)
        if path is None:
            raise ModuleNotFoundError(f'{package} is not installed')
        return path

    replace_everywhere(package_utils.is_installed, is_installed)
    replace_everywhere(package_utils.get_installed_path, get_installed_path)


def _find_package(name: str) -> str | None:
    """Folder of the package that is called ``name``, or whose distribution is."""
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
    what="`_base_ = 'mmdensenet::x.py'` and mmengine.hub.get_config want a '/' in the path and the package in a fixed "
    "list; each inherited dict gets `_scope_ = 'mmdensenet'`, in which mmpretrain's classes are not found",
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
    split = config_utils._get_package_and_cfg_path
    locate = Config._get_cfg_path

    @functools.wraps(split)
    def split_ours(cfg_path: str) -> tuple[str, str]:
        package, separator, path = cfg_path.partition('::')
        if package != 'mmdensenet' or not separator:
            return split(cfg_path)
        return package, path if path.endswith('.py') else f'{path}.py'

    @functools.wraps(locate)
    def locate_ours(cfg_path: str, filename: str) -> tuple[str, str | None]:
        path, scope = locate(cfg_path, filename)
        return path, CONFIG_SCOPE if scope == 'mmdensenet' else scope

    replace_everywhere(split, split_ours)
    Config._get_cfg_path = staticmethod(locate_ours)


YAML = Fault(
    what='a .yaml config, and any other YAML file, may run code while it is loaded; 1e-3 in it is text and 010 is 8; '
    'of a key that stands twice the first is lost',
    versions='mmengine 0.10.7',
    until='mmengine reads YAML 1.2, as data',
    targets=('mmengine.fileio.handlers.yaml_handler:Loader',),
)


@YAML.repaired_by
def load_yaml_as_data() -> None:
    from mmengine.fileio.handlers import yaml_handler

    yaml_handler.Loader = DataLoader


DATA_CONFIGS = Fault(
    what='a .yaml or .json config may inherit from a .py file, which runs while the config is loaded',
    versions='mmengine 0.10.7',
    until='mmengine lets a caller refuse it',
    targets=('mmengine.config:Config._get_base_files',),
)

STANDARD_LIBRARY = Fault(
    what='a config with imports (a pure-Python one) that uses os, json, re or another module of the standard library '
    'raises RuntimeError, as it is taken for a package whose import can wait; and a config with a module or '
    'a function in it cannot be copied or written',
    versions='mmengine 0.10.7 with Python 3.11 and newer, and in virtual environments',
    until='mmengine uses sys.stdlib_module_names',
    targets=('mmengine.config.utils:_is_builtin_module', 'mmengine.config:Config.fromfile'),
    is_repaired=lambda: uses(find('mmengine.config.utils:_is_builtin_module'), 'stdlib_module_names'),
)


@STANDARD_LIBRARY.repaired_by
def know_the_standard_library() -> None:
    is_builtin = find('mmengine.config.utils:_is_builtin_module')

    @functools.wraps(is_builtin)
    def is_builtin_or_standard(module_name: str) -> bool:
        return module_name.split('.')[0] in sys.stdlib_module_names or is_builtin(module_name)

    replace_everywhere(is_builtin, is_builtin_or_standard)

    from mmengine.config import Config

    read = Config.fromfile

    @functools.wraps(read)
    def read_values(*args, **kwargs) -> Config:
        cfg = read(*args, **kwargs)
        if hasattr(cfg, '_imported_names'):  # a pure-Python one; from others mmengine takes them out itself
            values = cfg._cfg_dict
            for name in [k for k, value in dict.items(values) if isinstance(value, (FunctionType, ModuleType))]:
                del values[name]
        return cfg

    Config.fromfile = staticmethod(read_values)


# ---------------------------------------------------------------------------------------------------------------------
# Checkpoints

WEIGHTS_ONLY = Fault(
    what='BaseInferencer(weights=FILE) without a model executes the config text in the checkpoint',
    versions='mmengine 0.10.7',
    until='mmengine keeps configs in checkpoints as data',
    targets=('mmengine.infer.infer:BaseInferencer._init_model',),
)


READING = Fault(
    what='resuming from or testing a checkpoint that training wrote raises UnpicklingError, as it holds HistoryBuffer '
    'objects; resume executes the text in meta["config"]',
    versions='mmengine 0.10.7 with torch >= 2.6',
    until='mmengine reads data and executes none',
    targets=(
        'mmengine.runner.checkpoint:load_url',
        'mmengine.runner.checkpoint:load_from_http',
        'mmengine.runner.checkpoint:get_external_models',
        'mmengine.runner.checkpoint:get_deprecated_model_names',
        'mmengine.runner.checkpoint:_get_mmengine_home',
        'mmengine.runner.checkpoint:CheckpointLoader.register_scheme',
        'mmengine.runner.checkpoint:CheckpointLoader._get_checkpoint_loader',
    ),
)
WRITING = Fault(
    what='a checkpoint holds objects of classes, not plain data, and one that is being written when the run is killed '
    'is a torn file under its name',
    versions='mmengine 0.10.7',
    until='mmengine writes plain data, and renames a file when it is whole',
    targets=('mmengine.runner.checkpoint:save_checkpoint',),
)
OTHER_LAYOUTS = Fault(
    what='weights in the layout of torchvision, timm and others load as none, with a warning',
    versions='mmengine 0.10.7',
    until='mmengine lets a model convert a checkpoint before it is loaded',
    targets=(
        'mmengine.runner.checkpoint:_load_checkpoint_to_model',
        'mmengine.runner.runner:_load_checkpoint_to_model',
        'mmengine.model.weight_init:PretrainedInit.__call__',
    ),
)
LATEST = Fault(
    what='auto-resume takes the file that last_checkpoint names, whole or not, of the run that began last or not',
    versions='mmengine 0.10.7',
    until='mmengine verifies checkpoints and distinguishes runs',
    targets=('mmengine.runner.checkpoint:find_latest_checkpoint',),
)
DELETING = Fault(
    what='with max_keep_ckpts the oldest checkpoint is deleted before the new one is written, and the best one before '
    'the new best one: a kill in between loses both',
    versions='mmengine 0.10.7',
    until='mmengine deletes last',
    targets=(
        'mmengine.hooks:CheckpointHook._save_checkpoint_with_step',
        'mmengine.hooks:CheckpointHook._save_best_checkpoint',
    ),
)

# ---------------------------------------------------------------------------------------------------------------------
# Data sets

CONCATENATING = Fault(
    what='ConcatDataset says of parts with different classes that their meta information does not match, without '
    'saying which, and refuses the same names as a list and as a tuple; ClassBalancedDataset around it or '
    'RepeatDataset raises, for they have no get_cat_ids',
    versions='mmengine 0.10.7',
    until='mmengine names what differs, and the wrappers have get_cat_ids',
    targets=(
        'mmengine.dataset.dataset_wrapper:ConcatDataset.__init__',
        'mmengine.dataset.dataset_wrapper:RepeatDataset',
    ),
)


SUBSETS = Fault(
    what='get_subset copies a data set with one memo for all copies of a process: a later subset has the pipeline of '
    'an earlier one, or any object that lay at its place in memory',
    versions='mmengine 0.10.7',
    until='each copy has its own memo',
    targets=('mmengine.dataset.base_dataset:BaseDataset._copy_without_annotation',),
    is_repaired=lambda: (
        not any(
            isinstance(default, dict)
            for default in find('mmengine.dataset.base_dataset:BaseDataset._copy_without_annotation').__defaults__ or ()
        )
    ),
)


@SUBSETS.repaired_by
def copy_each_subset_anew() -> None:
    from mmengine.dataset import BaseDataset

    copy = BaseDataset._copy_without_annotation

    @functools.wraps(copy)
    def copy_without_annotation(self, memo: dict | None = None) -> BaseDataset:
        return copy(self, {} if memo is None else memo)

    BaseDataset._copy_without_annotation = copy_without_annotation


BYTE_ORDER_MARK = Fault(
    what='list_from_file leaves the byte-order mark of files of Windows before the first line, such as the path of an '
    'image',
    versions='mmengine 0.10.7',
    until='mmengine reads such files as utf-8-sig',
    targets=('mmengine.fileio.parse:list_from_file',),
)


@BYTE_ORDER_MARK.repaired_by
def leave_out_byte_order_mark() -> None:
    read = find('mmengine.fileio.parse:list_from_file')

    @functools.wraps(read)
    def list_from_file(*args, **kwargs) -> list[str]:
        lines = read(*args, **kwargs)
        return [lines[0].removeprefix('\ufeff'), *lines[1:]] if lines else lines

    replace_everywhere(read, list_from_file)


ANNOTATIONS = Fault(
    what='an annotation file that is malformed raises, such as "not enough values to unpack", without the file and '
    'line; one that ends in .pkl runs what it asks for',
    versions='mmengine 0.10.7 with mmpretrain 1.2.0',
    until='the data sets name them',
    targets=('mmengine.dataset.base_dataset:BaseDataset.full_init',),
)


# ---------------------------------------------------------------------------------------------------------------------
# Training

TIME_STAMPS = Fault(
    what='runs that start within a second have the same names: the second one gets the logger, visualizer, message hub '
    'and log folder of the first, and with them its best score',
    versions='mmengine 0.10.7',
    until='the names are of one run each',
    targets=('mmengine.runner.runner:Runner.setup_env',),
)


@TIME_STAMPS.repaired_by
def give_each_run_its_time_stamp() -> None:
    from mmengine.runner import Runner

    begin, layout, latest = Runner.setup_env, '%Y%m%d_%H%M%S', 0.0

    @functools.wraps(begin)
    def setup_env(self, *args, **kwargs) -> None:
        nonlocal latest
        begin(self, *args, **kwargs)
        latest = max(time.mktime(time.strptime(self._timestamp, layout)), latest + 1)
        self._timestamp = time.strftime(layout, time.localtime(latest))

    Runner.setup_env = setup_env


ITERATING = Fault(
    what='IterBasedTrainLoop starts the iterator of its data loader, and its workers, when it is built: what hooks '
    'change before training, such as the seeds of a resumed run, does not reach them',
    versions='mmengine 0.10.7',
    until='mmengine starts it in run()',
    targets=('mmengine.runner.loops:_InfiniteDataloaderIterator',),
    is_repaired=lambda: not uses(find('mmengine.runner.loops:_InfiniteDataloaderIterator.__init__'), 'iter'),
)


@ITERATING.repaired_by
def iterate_when_asked() -> None:
    from mmengine.runner import loops

    def init(self, dataloader) -> None:
        self._dataloader, self._epoch = dataloader, 0

    iterator = functools.cached_property(lambda self: iter(self._dataloader))
    iterator.__set_name__(loops._InfiniteDataloaderIterator, '_iterator')
    loops._InfiniteDataloaderIterator.__init__ = init
    loops._InfiniteDataloaderIterator._iterator = iterator


AMP = Fault(
    what='AmpOptimWrapper refuses to run without a GPU',
    versions='mmengine 0.10.7',
    until='mmengine allows bfloat16 autocast on CPUs',
    targets=('mmengine.optim:AmpOptimWrapper',),
    is_repaired=lambda: not uses(find('mmengine.optim:AmpOptimWrapper.__init__'), 'is_cuda_available'),
)
GLOO = Fault(
    what='distributed training on CPUs: init_dist calls torch.cuda.set_device (AttributeError) and keeps nccl, and '
    'MMDistributedDataParallel gets device_ids (ValueError)',
    versions='mmengine 0.10.7',
    until='mmengine supports gloo',
    targets=(
        'mmengine.dist.utils:_init_dist_pytorch',
        'mmengine.dist.utils:_init_dist_slurm',
        'mmengine.dist.utils:_init_dist_mpi',
        'mmengine.model:MMDistributedDataParallel',
    ),
    is_repaired=lambda: not uses(find('mmengine.dist.utils:_init_dist_pytorch'), 'set_device'),
)


@GLOO.repaired_by
def allow_distributed_on_cpu() -> None:
    import mmengine.dist.utils as dist_utils
    from mmengine.model import MMDistributedDataParallel

    def without_cuda(init: Callable) -> Callable:
        @functools.wraps(init)
        def run(backend, *args, **kwargs):
            if torch.cuda.is_available():
                return init(backend, *args, **kwargs)
            set_device = torch.cuda.set_device
            torch.cuda.set_device = lambda device: None
            try:
                return init('gloo' if backend == 'nccl' else backend, *args, **kwargs)
            finally:
                torch.cuda.set_device = set_device

        return run

    for name in ('_init_dist_pytorch', '_init_dist_slurm', '_init_dist_mpi'):
        setattr(dist_utils, name, without_cuda(getattr(dist_utils, name)))

    wrap = MMDistributedDataParallel.__init__

    @functools.wraps(wrap)
    def wrap_on_any_device(self, module, *args, **kwargs):
        if all(parameter.device.type == 'cpu' for parameter in module.parameters()):
            kwargs['device_ids'] = None
        wrap(self, module, *args, **kwargs)

    MMDistributedDataParallel.__init__ = wrap_on_any_device
