"""Training from a config."""

from pathlib import Path

from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from mmdensenet.engine.hooks import CheckLabelsHook, CheckpointCoverageHook
from mmdensenet.errors import UserError

from .config import complete_dataloaders, load_config, merge_options, require_data


def train_model(
    config: str | Config,
    *,
    work_dir: str | None = None,
    resume: str | None = None,
    amp: bool = False,
    validate: bool = True,
    auto_scale_lr: bool = False,
    tensorboard: bool = False,
    pin_memory: bool = True,
    persistent_workers: bool = True,
    launcher: str = 'none',
    cfg_options: dict | None = None,
) -> Runner:
    """Train, and validate after each epoch.

    Args:
        config: path of a config file, 'mmdensenet::NAME', or a loaded config.
        work_dir: where checkpoints, logs and the picture of the curves go; by default the config's, or
            ``./work_dirs/CONFIG_NAME``.
        resume: 'auto' for the latest checkpoint of the work directory if there is one, or a checkpoint's path.
        amp: mixed precision; bfloat16 on a CPU.
        auto_scale_lr: scale the learning rate by the real batch over ``auto_scale_lr.base_batch_size``.
        tensorboard: also write TensorBoard's event files.
        launcher: 'none', 'pytorch', 'slurm' or 'mpi'.
        cfg_options: dotted keys to values, which override the config.

    Returns:
        The runner after training; ``runner.model`` is the trained model, ``runner.work_dir`` the work directory.

    Raises:
        UserError: for what the user can put right.
    """
    cfg = config if isinstance(config, Config) else load_config(config)
    cfg.launcher = launcher
    set_work_dir(cfg, work_dir)
    if not validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    if amp:
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
    if resume is not None:
        cfg.resume = True
        cfg.load_from = None if resume == 'auto' else resume
    if auto_scale_lr:
        if not (cfg.get('auto_scale_lr') or {}).get('base_batch_size'):
            raise UserError(
                '--auto-scale-lr: the config has no auto_scale_lr.base_batch_size, the batch its lr is for.'
            )
        cfg.auto_scale_lr.enable = True
    if tensorboard:
        _require_tensorboard()
        cfg.visualizer.vis_backends = [*cfg.visualizer.vis_backends, dict(type='TensorboardVisBackend')]
    merge_options(cfg, cfg_options or {})
    complete_dataloaders(cfg, pin_memory, persistent_workers)
    require_data(cfg, 'train_dataloader', 'val_dataloader')
    if cfg.get('load_from'):
        require_checkpoint(cfg.load_from)

    runner = build_runner(cfg)
    runner.register_hook(CheckLabelsHook())
    source = cfg.get('load_from') or 'the latest checkpoint'
    runner.register_hook(CheckpointCoverageHook(source, head_may_differ=not cfg.get('resume')))
    runner.train()
    return runner


def build_runner(cfg: Config) -> Runner:
    """mmengine's runner for a config, without the lines in which mmengine warns of its own deprecations."""
    runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
    runner.logger.addFilter(
        lambda record: not str(record.msg).startswith(('"FileClient" will', '"HardDiskBackend" is'))
    )
    return runner


def set_work_dir(cfg: Config, work_dir: str | None) -> None:
    """The command line's work directory, else the config's, else one with the config's name."""
    if work_dir is not None:
        cfg.work_dir = work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs', Path(cfg.filename or 'config').stem))


def require_checkpoint(path: str) -> None:
    if '://' not in path and not Path(path).expanduser().is_file():
        raise UserError(f'checkpoint {path} does not exist.')


def _require_tensorboard() -> None:
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError as error:
        raise UserError('--tensorboard needs the package tensorboard. Run: pip install tensorboard') from error
