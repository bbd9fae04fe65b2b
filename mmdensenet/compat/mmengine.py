"""Faults of mmengine with checkpoints, data sets and training; those with configs are in :mod:`.mmengine_configs`.

Small repairs are made here. The owner of a larger replacement registers it.
"""

import functools
import time
from collections.abc import Callable

import torch

from .faults import Fault, find, uses, wrapping

# ---------------------------------------------------------------------------------------------------------------------
# Checkpoints

WEIGHTS_ONLY = Fault(
    what='BaseInferencer(weights=FILE) without a model executes the config text in the checkpoint',
    versions='mmengine 0.10.7',
    until='mmengine keeps configs in checkpoints as data',
    targets=('mmengine.infer.infer:BaseInferencer._init_model',),
)


READING = Fault(
    what='resuming from, or testing, a checkpoint of a training raises UnpicklingError, because it contains '
    'HistoryBuffer objects; resuming executes the text in meta["config"]',
    versions='mmengine 0.10.7 with torch >= 2.6',
    until='mmengine reads checkpoints as data',
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
    what='checkpoints contain objects of classes instead of plain data, and a run that is killed while it writes one '
    'leaves a truncated file under its name',
    versions='mmengine 0.10.7',
    until='mmengine writes plain data, and renames a file when it is complete',
    targets=('mmengine.runner.checkpoint:save_checkpoint',),
)
OTHER_LAYOUTS = Fault(
    what='of weights in the layout of torchvision, timm and others no tensor is loaded, with only a warning',
    versions='mmengine 0.10.7',
    until='mmengine lets a model convert a checkpoint before it is loaded',
    targets=(
        'mmengine.runner.checkpoint:_load_checkpoint_to_model',
        'mmengine.runner.runner:_load_checkpoint_to_model',
        'mmengine.model.weight_init:PretrainedInit.__call__',
    ),
)
LATEST = Fault(
    what='auto-resume takes the file that last_checkpoint names, even if it is damaged or belongs to an older run',
    versions='mmengine 0.10.7',
    until='mmengine verifies checkpoints and distinguishes runs',
    targets=('mmengine.runner.checkpoint:find_latest_checkpoint',),
)
DELETING = Fault(
    what='with max_keep_ckpts the oldest checkpoint is deleted before the new one is written, and the old best one '
    'before the new best one, so a kill in between loses both',
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
    what='ConcatDataset reports parts with different classes without naming the difference, and refuses a list and a '
    'tuple of the same names; ClassBalancedDataset around it or around RepeatDataset raises, because they have no '
    'get_cat_ids',
    versions='mmengine 0.10.7',
    until='mmengine names what differs, and the wrappers have get_cat_ids',
    targets=(
        'mmengine.dataset.dataset_wrapper:ConcatDataset.__init__',
        'mmengine.dataset.dataset_wrapper:RepeatDataset',
    ),
)


SUBSETS = Fault(
    what='get_subset copies data sets with one memo for the whole process, so a later subset may get the pipeline of '
    'an earlier one, or an unrelated object',
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

    @wrapping(BaseDataset, '_copy_without_annotation')
    def copy_without_annotation(copy: Callable, self, memo: dict | None = None) -> BaseDataset:
        return copy(self, {} if memo is None else memo)


BYTE_ORDER_MARK = Fault(
    what='list_from_file keeps the byte-order mark of Windows files, in front of the first line',
    versions='mmengine 0.10.7',
    until='mmengine reads such files as utf-8-sig',
    targets=('mmengine.fileio.parse:list_from_file',),
)


@BYTE_ORDER_MARK.repaired_by
def leave_out_byte_order_mark() -> None:
    @wrapping(find('mmengine.fileio.parse'), 'list_from_file')
    def list_from_file(read: Callable, *args, **kwargs) -> list[str]:
        lines = read(*args, **kwargs)
        return [lines[0].removeprefix('\ufeff'), *lines[1:]] if lines else lines


ANNOTATIONS = Fault(
    what='a malformed annotation file raises an error such as "not enough values to unpack", without the file and the '
    'line; a .pkl file runs the code that it asks for',
    versions='mmengine 0.10.7 with mmpretrain 1.2.0',
    until='the data sets name file and line',
    targets=('mmengine.dataset.base_dataset:BaseDataset.full_init',),
)


# ---------------------------------------------------------------------------------------------------------------------
# Training

TIME_STAMPS = Fault(
    what='runs that start within the same second share their name: the second gets the logger, visualizer, message '
    'hub, log folder and best score of the first',
    versions='mmengine 0.10.7',
    until='each run has its own name',
    targets=('mmengine.runner.runner:Runner.setup_env',),
)


@TIME_STAMPS.repaired_by
def give_each_run_its_time_stamp() -> None:
    from mmengine.runner import Runner

    layout, latest = '%Y%m%d_%H%M%S', 0.0

    @wrapping(Runner, 'setup_env')
    def setup_env(begin: Callable, self, *args, **kwargs) -> None:
        nonlocal latest
        begin(self, *args, **kwargs)
        latest = max(time.mktime(time.strptime(self._timestamp, layout)), latest + 1)
        self._timestamp = time.strftime(layout, time.localtime(latest))


ITERATING = Fault(
    what='IterBasedTrainLoop starts the iterator and the workers of its data loader when it is built, so changes that '
    'hooks make before training, such as the seeds of a resumed run, do not reach them',
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
    what='distributed training on CPUs fails: init_dist calls torch.cuda.set_device (AttributeError) and keeps nccl, '
    'and MMDistributedDataParallel passes device_ids (ValueError)',
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

    def without_cuda(init: Callable, backend, *args, **kwargs):
        if torch.cuda.is_available():
            return init(backend, *args, **kwargs)
        set_device = torch.cuda.set_device
        torch.cuda.set_device = lambda device: None
        try:
            return init('gloo' if backend == 'nccl' else backend, *args, **kwargs)
        finally:
            torch.cuda.set_device = set_device

    for name in ('_init_dist_pytorch', '_init_dist_slurm', '_init_dist_mpi'):
        wrapping(dist_utils, name)(without_cuda)

    @wrapping(MMDistributedDataParallel, '__init__')
    def wrap_on_any_device(wrap: Callable, self, module, *args, **kwargs):
        if all(parameter.device.type == 'cpu' for parameter in module.parameters()):
            kwargs['device_ids'] = None
        wrap(self, module, *args, **kwargs)
