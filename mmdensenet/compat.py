"""What today's torch, numpy, setuptools and matplotlib break in the released OpenMMLab packages, made to work.

:func:`apply` runs when mmdensenet is imported and is all that a user needs. :data:`FAULTS` lists every repair with the
fault, the versions that have it and when the repair can go. Measured with mmengine 0.10.7, mmpretrain 1.2.0, mmcv-lite
2.2.0, torch 2.13, torchvision 0.28, numpy 2.4, matplotlib 3.11 and scikit-learn 1.9 on Python 3.11.

No warning filter is touched. What torchvision, matplotlib, grad-cam and scikit-learn get is left out for versions that
lack the fault; mmengine's functions are replaced by ones that do the same and more. Packages that are not imported yet
(mmpretrain, torchvision, scikit-learn, matplotlib, pytorch_grad_cam) are not imported for it: they are repaired when
somebody imports them.
"""

import ctypes
import functools
import importlib.machinery
import importlib.metadata
import importlib.util
import inspect
import logging
import os.path as osp
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

MINIMUM_TORCH = (2, 6)


@dataclass(frozen=True)
class Fault:
    """One repair: ``repair`` is called once, with the imported module if ``when_imported`` names one."""

    what: str
    versions: str
    until: str
    repair: Callable
    when_imported: str | None = None


FAULTS: list[Fault] = []
_applied = False


def fault(what: str, versions: str, until: str, when_imported: str | None = None) -> Callable:
    """Add the decorated function to :data:`FAULTS`."""

    def register(repair: Callable) -> Callable:
        FAULTS.append(Fault(what, versions, until, repair, when_imported))
        return repair

    return register


def apply() -> None:
    """Check that the needed packages are there, then make every repair of :data:`FAULTS`, once per process.

    Raises:
        ImportError: without mmcv or mmcv-lite, or with a torch older than 2.6; the message says what to install.
    """
    global _applied
    if _applied:
        return
    _require_torch()
    _require_mmcv()
    for entry in FAULTS:
        if entry.when_imported is None:
            entry.repair()
        else:
            _when_imported(entry.when_imported, entry.repair)
    _applied = True


def _require_torch() -> None:
    import torch

    version = tuple(int(part) for part in torch.__version__.split('+')[0].split('.')[:2])
    if version < MINIMUM_TORCH:
        raise ImportError(
            f'mmdensenet needs torch >= 2.6, found {torch.__version__}: before it a checkpoint could run code in spite '
            'of weights_only. Run: pip install "torch>=2.6"'
        )


def _require_mmcv() -> None:
    if importlib.util.find_spec('mmcv') is None:
        raise ImportError(
            'mmdensenet needs mmcv or mmcv-lite, and neither is installed. For classification run: '
            'pip install "mmdensenet[lite]". If you also use mmdet, mmseg or mmdet3d, install the full mmcv instead.'
        )


# ---------------------------------------------------------------------------------------------------------------------
# Installation and configs


@fault(
    what='importing torchvision raises "operator torchvision::nms does not exist" beside a CPU build of torch, because '
    "the registry's torchvision is compiled for CUDA and its library does not load",
    versions='torchvision 0.15 and newer',
    until='a CPU torchvision is on the package registry',
)
def declare_torchvision_operators() -> None:
    """Declare the schemas that torchvision's Python code refers to; its transforms need no compiled code."""
    import torch

    if 'torchvision' in sys.modules:
        return
    spec = importlib.util.find_spec('torchvision')
    libraries = [p for folder in (spec and spec.submodule_search_locations) or [] for p in Path(folder).glob('_C*.so')]
    if not libraries or _loads(libraries[0]):
        return
    schemas = {
        'nms': '(Tensor dets, Tensor scores, float iou_threshold) -> Tensor',
        'qnms': '(Tensor dets, Tensor scores, float iou_threshold) -> Tensor',
    }
    library = torch.library.Library('torchvision', 'FRAGMENT')
    for name, schema in schemas.items():
        if not hasattr(torch.ops.torchvision, name):  # declaring one twice raises
            library.define(name + schema)
    # A Library undoes its definitions when it is collected.
    declare_torchvision_operators.library = library


def _loads(library: Path) -> bool:
    try:
        ctypes.CDLL(str(library))
    except OSError:
        return False
    return True


@fault(
    what='is_installed and get_installed_path import pkg_resources, and give a folder that does not exist for PEP 660 '
    'editable installs',
    versions='mmengine 0.10.7 with setuptools >= 82 (no pkg_resources), or with any editable install of today',
    until='mmengine uses importlib.metadata',
)
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

    _replace_everywhere(package_utils.is_installed, is_installed)
    _replace_everywhere(package_utils.get_installed_path, get_installed_path)


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


@fault(
    what="`_base_ = 'mmdensenet::x.py'` and mmengine.hub.get_config want a '/' in the path and the package in a fixed "
    "list; each inherited dict gets `_scope_ = 'mmdensenet'`, in which mmpretrain's classes are not found",
    versions='mmengine 0.10.7',
    until='mmengine lets packages register themselves, with the scope of their configs',
)
def find_our_configs() -> None:
    import mmengine.config.utils as config_utils
    from mmengine.config import Config

    from .registry import CONFIG_SCOPE

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

    _replace_everywhere(split, split_ours)
    Config._get_cfg_path = staticmethod(locate_ours)


# ---------------------------------------------------------------------------------------------------------------------
# Checkpoints


@fault(
    what='resuming from or testing a checkpoint that training wrote raises UnpicklingError, as it holds HistoryBuffer '
    'objects; resume executes the text in meta["config"]',
    versions='mmengine 0.10.7 with torch >= 2.6',
    until='mmengine writes plain data and executes none',
)
def load_and_save_plain_checkpoints() -> None:
    import mmengine.runner.checkpoint as checkpoint

    from .checkpoints.checkpoint import save_whole, to_plain
    from .checkpoints.checkpoint_sources import install

    save = checkpoint.save_checkpoint

    @functools.wraps(save)
    def save_plain(checkpoint, filename, file_client_args=None, backend_args=None):
        if '://' in str(filename) or file_client_args or backend_args:
            save(to_plain(checkpoint), filename, file_client_args, backend_args)
        else:
            save_whole(checkpoint, filename)

    install(checkpoint)
    _replace_everywhere(save, save_plain)


@fault(
    what='a .yaml config, and any other YAML file, may run code while it is loaded',
    versions='mmengine 0.10.7',
    until="mmengine uses yaml's SafeLoader",
)
def load_yaml_as_data() -> None:
    import yaml
    from mmengine.fileio.handlers import yaml_handler

    class Loader(getattr(yaml, 'CSafeLoader', yaml.SafeLoader)):
        pass

    # what mmengine writes for the tuples of a config
    tag = 'tag:yaml.org,2002:python/tuple'
    Loader.add_constructor(tag, lambda loader, node: tuple(loader.construct_sequence(node, deep=True)))

    def refuse(loader, suffix: str, node):
        what = f'it asks for Python ({suffix}), and YAML is read as data: a config that runs code ends in .py'
        raise yaml.constructor.ConstructorError(problem=what)

    Loader.add_multi_constructor('tag:yaml.org,2002:python/', refuse)
    yaml_handler.Loader = Loader


@fault(
    what='auto-resume takes the file that last_checkpoint names, whole or not, of the run that began last or not',
    versions='mmengine 0.10.7',
    until='mmengine verifies checkpoints and tells runs apart',
)
def resume_from_whole_checkpoints() -> None:
    import mmengine.runner.checkpoint as checkpoint
    from mmengine.logging import print_log

    from .checkpoints.work_dir import checkpoint_to_resume

    find = checkpoint.find_latest_checkpoint

    @functools.wraps(find)
    def find_whole(path: str) -> str | None:
        found, passed_over = checkpoint_to_resume(path)
        for file, reason in passed_over:
            print_log(f'{file} is passed over: {reason}.', 'current', logging.WARNING)
        return str(found.path) if found else None

    _replace_everywhere(find, find_whole)


@fault(
    what='with max_keep_ckpts the oldest checkpoint is deleted before the new one is written, and the best one before '
    'the new best one: a kill in between loses both',
    versions='mmengine 0.10.7',
    until='mmengine deletes last',
)
def delete_checkpoints_last() -> None:
    from mmengine.hooks import CheckpointHook

    from .checkpoints.keep_checkpoints import deleting_last, keeping_previous_best

    CheckpointHook._save_checkpoint_with_step = deleting_last(CheckpointHook._save_checkpoint_with_step)
    CheckpointHook._save_best_checkpoint = keeping_previous_best(CheckpointHook._save_best_checkpoint)


@fault(
    what='IterBasedTrainLoop starts the iterator of its data loader, and its workers, when it is built: what hooks '
    'change before training, such as the seeds of a resumed run, does not reach them',
    versions='mmengine 0.10.7',
    until='mmengine starts it in run()',
)
def iterate_when_asked() -> None:
    from mmengine.runner.loops import _InfiniteDataloaderIterator

    def init(self, dataloader) -> None:
        self._dataloader, self._epoch = dataloader, 0

    iterator = functools.cached_property(lambda self: iter(self._dataloader))
    iterator.__set_name__(_InfiniteDataloaderIterator, '_iterator')
    _InfiniteDataloaderIterator.__init__ = init
    _InfiniteDataloaderIterator._iterator = iterator


# ---------------------------------------------------------------------------------------------------------------------
# Training on CPUs


@fault(
    what='AmpOptimWrapper refuses to run without a GPU',
    versions='mmengine 0.10.7',
    until='mmengine allows bfloat16 autocast on CPUs',
)
def allow_amp_on_cpu() -> None:
    from .training import amp  # noqa: F401  registers itself in the place of mmengine's


@fault(
    what='distributed training on CPUs: init_dist calls torch.cuda.set_device (AttributeError) and keeps nccl, and '
    'MMDistributedDataParallel gets device_ids (ValueError)',
    versions='mmengine 0.10.7',
    until='mmengine supports gloo',
)
def allow_distributed_on_cpu() -> None:
    import mmengine.dist.utils as dist_utils
    import torch
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


@fault(
    what="norm_cfg=dict(type='SyncBN') refuses CPU tensors",
    versions='torch up to 2.13',
    until='torch.nn.SyncBatchNorm supports gloo',
)
def allow_sync_batch_norm_on_cpu() -> None:
    from .models import sync_batch_norm  # noqa: F401  registers itself in the place of torch's


# Elastic restarts with gloo need a setting before torch starts: mmdensenet/training/launch.py.

# ---------------------------------------------------------------------------------------------------------------------
# mmpretrain's analysis tools


@fault(
    what="browse_dataset.py: adjust_bbox() misses 'renderer'",
    versions='mmpretrain 1.2.0 with matplotlib >= 3.10',
    until='mmpretrain draws without matplotlib._tight_bbox',
    when_imported='matplotlib._tight_bbox',
)
def default_renderer(tight_bbox: ModuleType) -> None:
    # The script has bound the function by the time that its config imports us: only its defaults can still change.
    function = tight_bbox.adjust_bbox
    parameters = list(inspect.signature(function).parameters.values())
    if [p.name for p in parameters] == ['fig', 'bbox_inches', 'renderer', 'fixed_dpi']:
        function.__defaults__ = (None, None)


@fault(
    what="vis_cam.py: GradCAM() got an unexpected keyword argument 'use_cuda'",
    versions='mmpretrain 1.2.0 with grad-cam >= 1.5',
    until='mmpretrain stops passing use_cuda',
    when_imported='pytorch_grad_cam.base_cam',
)
def accept_use_cuda(base_cam: ModuleType) -> None:
    # Every method's constructor has a signature of its own, so the argument is taken out before any of them is called.
    if 'use_cuda' in inspect.signature(base_cam.BaseCAM.__init__).parameters:
        return

    def accept(cls: type) -> None:
        if '__init__' in vars(cls):
            init = cls.__init__

            @functools.wraps(init)
            def accepting(self, *args, use_cuda=None, **kwargs):
                init(self, *args, **kwargs)

            cls.__init__ = accepting
        for subclass in cls.__subclasses__():
            accept(subclass)

    accept(base_cam.BaseCAM)
    # and those that are defined after this
    base_cam.BaseCAM.__init_subclass__ = classmethod(lambda cls, **kwargs: accept(cls))


@fault(
    what="vis_tsne.py: TSNE() got an unexpected keyword argument 'n_iter', now max_iter",
    versions='mmpretrain 1.2.0 with scikit-learn >= 1.7',
    until='mmpretrain passes max_iter',
    when_imported='sklearn.manifold._t_sne',
)
def accept_n_iter(t_sne: ModuleType) -> None:
    init = t_sne.TSNE.__init__
    if 'n_iter' in inspect.signature(init).parameters:
        return

    @functools.wraps(init)  # scikit-learn reads the estimator's parameters from the wrapped signature
    def accepting(self, *args, n_iter=None, **kwargs):
        if n_iter is not None:
            kwargs.setdefault('max_iter', n_iter)
        init(self, *args, **kwargs)

    t_sne.TSNE.__init__ = accepting


# ---------------------------------------------------------------------------------------------------------------------


def _replace_everywhere(old: Callable, new: Callable) -> None:
    """Rebind ``old`` in every module of mmengine and mmpretrain that has taken it by name."""
    for name, module in list(sys.modules.items()):
        if name.split('.')[0] in ('mmengine', 'mmpretrain') and module is not None:
            for attribute, value in list(vars(module).items()):
                if value is old:
                    setattr(module, attribute, new)


def _when_imported(name: str, repair: Callable[[ModuleType], None]) -> None:
    """Call ``repair(module)`` now if the module is imported, else right after somebody imports it."""
    if name in sys.modules:
        repair(sys.modules[name])
        return
    finder = next((f for f in sys.meta_path if isinstance(f, _RepairingFinder)), None)
    if finder is None:
        finder = _RepairingFinder()
        sys.meta_path.insert(0, finder)
    finder.repairs[name] = repair


class _RepairingFinder:
    """An import hook that lets the other finders find, and has the repair run after the module's own code."""

    def __init__(self):
        self.repairs: dict[str, Callable[[ModuleType], None]] = {}

    def find_spec(self, name, path=None, target=None) -> importlib.machinery.ModuleSpec | None:
        if name not in self.repairs:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(name, path, target)
            if spec is not None:
                break
        else:
            return None
        repair = self.repairs.pop(name)
        execute = spec.loader.exec_module

        def execute_and_repair(module: ModuleType) -> None:
            execute(module)
            repair(module)

        spec.loader.exec_module = execute_and_repair
        return spec
