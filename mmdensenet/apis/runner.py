"""Open a config, adapt it to this machine, and build its runner."""

import os
from copy import deepcopy
from pathlib import Path

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from mmdensenet import terminal
from mmdensenet.checkpoints.checkpoint_sources import fetch
from mmdensenet.errors import UserError
from mmdensenet.ops.show_engine import engine
from mmdensenet.similar import did_you_mean, similar_path
from mmdensenet.training.hooks import ProgressHook, TerminalHook

from .config import LOADERS, load_to_build, merge_options, named
from .config_data import complete_dataloaders, name_bad_images, require_data
from .follow_loop import require_backends
from .summary import cost_in_words

#: endings of the files that tools/export.py writes
EXPORTED_SUFFIXES = ('.onnx', '.xml', '.pt2')
_MMENGINES_HOOKS = ('runtime_info', 'timer', 'sampler_seed', 'logger', 'param_scheduler', 'checkpoint')


def open_config(config: str | Config, options: dict | None = None, launcher: str | None = None) -> Config:
    """The config of a call, a copy of its own, with ``options`` merged before anything else is derived from it.

    Args:
        config: path of a config file, 'mmdensenet::NAME', or a loaded config.
        options: dotted keys to values.
        launcher: of the processes that run it: 'none', 'pytorch', 'slurm' or 'mpi'. None leaves the config's.

    Raises:
        UserError: as :func:`load_config` does, if there is no model, or if torchrun has not started this process.
    """
    if launcher == 'pytorch' and 'RANK' not in os.environ:
        raise UserError('launcher=pytorch: start it with tools/dist_train.sh or tools/dist_test.sh (torchrun).')
    if isinstance(config, Config):
        cfg = named(deepcopy(config))
        merge_options(cfg, options or {})
    else:
        cfg = load_to_build(config, options)
    if cfg.get('model') is None:
        raise UserError(f'{cfg.filename or "the config"} has no model.')
    _require_settings(cfg)
    if cfg.get('load_from') == '':  # as of an environment variable that is not set
        cfg.load_from = None
    if launcher is not None:
        cfg.launcher = launcher
    return cfg


def _require_settings(cfg: Config) -> None:
    """Refuse a number or a text where settings belong, and counts of data loaders that are no counts."""
    for key in ('model', *LOADERS, 'train_cfg', 'val_cfg', 'test_cfg', 'optim_wrapper', 'env_cfg', 'default_hooks'):
        value = cfg.get(key)
        built = not isinstance(value, (str, int, float, list, tuple))  # a caller of the library may bring objects
        if not built:
            raise UserError(f'{key}={value!r:.80}: it must be a dict of settings.')
        counts = (('batch_size', 1), ('num_workers', 0)) if key in LOADERS and isinstance(value, dict) else ()
        for name, least in () if 'batch_sampler' in (value or ()) else counts:
            count = value.get(name, least)
            if type(count) is not int or count < least:
                raise UserError(f'{key}.{name}={count!r}: give a whole number of {least} or more.')


def config_name(cfg: Config, default: str = 'model') -> str:
    """Return the name of a config: that of its file, or of its folder for a config.py, as fit writes it."""
    if not cfg.filename:
        return default
    path = Path(cfg.filename)
    return path.resolve().parent.name if path.stem == 'config' else path.stem


def set_work_dir(cfg: Config, work_dir: str | None) -> None:
    """The command line's work directory, else the config's, else one with the config's name."""
    if work_dir is not None:
        cfg.work_dir = work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs', Path(cfg.filename or 'config').stem))


def require_checkpoint(path: str) -> None:
    """Check that a file of weights is there, before anything is built.

    Raises:
        UserError: if it is not, or is a file of ``tools/export.py``.
    """
    if '://' not in path and not Path(path).expanduser().is_file():
        if Path(path).expanduser().is_dir():
            raise UserError(f'checkpoint {path} is a folder: give a file in it.')
        raise UserError(f'checkpoint {path} does not exist.{similar_path(path)}')
    if path.lower().endswith(EXPORTED_SUFFIXES):
        raise UserError(
            f'checkpoint {path} is an exported file: give the checkpoint that it was exported from. `mmdensenet test '
            f'CONFIG {path} --out FILE.npz` tests the file itself; `report` takes its predictions, with the checkpoint.'
        )


def fetch_checkpoint(path: str) -> None:
    """Check that weights are there, before anything is built; download those of a URL.

    Raises:
        UserError: if they do not exist, or cannot be downloaded.
    """
    require_checkpoint(path)
    if path.startswith(('http://', 'https://', 'file://')) and terminal.is_first():
        fetch(path)


def fetch_weights_of(model: dict, key: str = 'model') -> None:
    """Fetch the weights that ``init_cfg=dict(type='Pretrained')`` of parts of a model name."""
    for name, value in model.items():
        if name == 'init_cfg':
            for init in value if isinstance(value, (list, tuple)) else [value]:
                if isinstance(init, dict) and init.get('type') == 'Pretrained' and init.get('checkpoint'):
                    try:
                        fetch_checkpoint(str(init['checkpoint']))
                    except UserError as error:
                        raise UserError(f'{key}.init_cfg: {error}') from error
        elif isinstance(value, dict):
            fetch_weights_of(value, f'{key}.{name}')


def prepare_data(cfg: Config, *loaders: str, pin_memory: bool = True, persistent_workers: bool = True) -> None:
    """Our loops and loading steps, data loaders that fit this machine, and data that are there.

    Args:
        loaders: the keys of the data loaders that will be built.

    Raises:
        UserError: naming the key and the path of data that do not exist, or the package that a visualizer needs.
    """
    require_backends(cfg)
    _use_our_loops(cfg)
    name_bad_images(cfg)
    complete_dataloaders(cfg, pin_memory, persistent_workers)
    require_data(cfg, *loaders)


def _use_our_loops(cfg: Config) -> None:
    """Use our loops: mmengine's epoch loop cannot resume inside an epoch, and its loops cannot skip a batch.

    A loop that the config names by ``type`` stays.
    """
    for key, loop in (('val_cfg', 'mmdensenet.ValLoop'), ('test_cfg', 'mmdensenet.TestLoop')):
        if cfg.get(key) is not None:
            cfg[key].setdefault('type', loop)
    if cfg.get('train_cfg') and 'type' not in cfg.train_cfg and 'by_epoch' in cfg.train_cfg:
        kind = 'Epoch' if cfg.train_cfg.pop('by_epoch') else 'Iter'
        cfg.train_cfg.type = f'mmdensenet.{kind}BasedTrainLoop'


def build_runner(cfg: Config) -> Runner:
    """mmengine's runner for a config, without the lines in which mmengine warns of its own deprecations."""
    hooks = cfg.get('default_hooks') or {}
    for name in hooks:
        added = name not in _MMENGINES_HOOKS and 'type' in (hooks[name] or ())
        similar = did_you_mean(name, _MMENGINES_HOOKS) if added else ''
        if similar:  # mmengine would add it as one more hook, and keep the default one
            raise UserError(f'default_hooks: there is no {name!r}.{similar}')
    for name in [name for name, hook in hooks.items() if hook is None and name not in _MMENGINES_HOOKS]:
        hooks.pop(name)  # None leaves a hook out; mmengine accepts it for its own hooks only
    cost = cost_in_words(cfg) if terminal.is_quiet() and terminal.is_first() else None  # before seeds are set
    runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
    runner.logger.addFilter(
        # the last: gradients that are being accumulated are in our checkpoints
        lambda record: (
            not str(record.msg).startswith(
                ('"FileClient" will', '"HardDiskBackend" is', 'Resumed iteration number is not divisible')
            )
        )
    )
    device = next((parameter.device for parameter in runner.model.parameters()), 'cpu')
    runner.logger.info(f'Dense blocks are computed by {engine(device)}.')
    if terminal.is_quiet():
        runner.register_hook(TerminalHook(cost))
        add_if_missing(runner, ProgressHook)
    return runner


def add_if_missing(runner: Runner, cls: type[Hook]) -> Hook:
    """The runner's hook of this class; one with the default settings where its config has none."""
    hook = next((hook for hook in runner.hooks if isinstance(hook, cls)), None)
    if hook is None:
        hook = cls()
        runner.register_hook(hook)
    return hook
