"""Adapt a config to its training loop, epochs or iterations, and check it before anything is built."""

import importlib.util

from mmengine.config import Config, ConfigDict

from mmdensenet.errors import UserError

#: packages of mmengine's visualizer back ends, which are imported when the run begins or at its first number
BACKEND_PACKAGES = {
    'WandbVisBackend': 'wandb',
    'MLflowVisBackend': 'mlflow',
    'ClearMLVisBackend': 'clearml',
    'NeptuneVisBackend': 'neptune',
    'DVCLiveVisBackend': 'dvclive',
    'AimVisBackend': 'aim',
    'TensorboardVisBackend': 'tensorboard',
}


def counts_iterations(cfg: Config) -> bool:
    """Whether the config trains by iterations."""
    train_cfg = cfg.get('train_cfg') or {}
    return not train_cfg.get('by_epoch', 'IterBased' not in _name(train_cfg.get('type')))


def follow_loop(cfg: Config) -> None:
    """Have log, scalars and checkpoints of a training by iterations count iterations; mmengine's count epochs.

    The default checkpoint interval, 1, is that of the validation.
    """
    if not counts_iterations(cfg):
        return
    cfg.log_processor = ConfigDict(cfg.get('log_processor') or {}, by_epoch=False)
    hooks = cfg.get('default_hooks') or ConfigDict()
    logger = hooks.get('logger', ConfigDict(type='LoggerHook'))
    if logger is not None:
        hooks.logger = ConfigDict(logger, log_metric_by_epoch=False)
    checkpoint = hooks.get('checkpoint', ConfigDict(type='CheckpointHook'))
    if checkpoint is not None:
        hooks.checkpoint = ConfigDict(checkpoint, by_epoch=False)
        if checkpoint.get('by_epoch', True) and checkpoint.get('interval', 1) == 1:
            hooks.checkpoint.interval = cfg.train_cfg.get('val_interval', 1000)  # the loop's default
    cfg.default_hooks = hooks


def require_intervals(cfg: Config) -> None:
    """Check when the training validates.

    Raises:
        UserError: for an interval that is no whole number of 1 or more, and if it would never validate.
    """
    train_cfg = cfg.get('train_cfg') or {}
    intervals = [('val_interval', train_cfg.get('val_interval', 1))]
    intervals += [('dynamic_intervals', pair[1]) for pair in train_cfg.get('dynamic_intervals') or ()]
    for key, value in intervals:
        if type(value) is not int or value < 1:
            raise UserError(
                f'train_cfg.{key}={value!r}: give a whole number of 1 or more; validate=False leaves validation out.'
            )
    end = 'max_iters' if counts_iterations(cfg) else 'max_epochs'
    begin, last = train_cfg.get('val_begin', 1), train_cfg.get(end)
    if cfg.get('val_dataloader') is not None and isinstance(last, int) and begin > last:
        raise UserError(f'train_cfg.val_begin={begin} is after the end, {end}={last}: nothing would be validated.')


def require_backends(cfg: Config) -> None:
    """Check that the packages of the visualizer's back ends are installed.

    Raises:
        UserError: naming the first that is not.
    """
    backends = (cfg.get('visualizer') or {}).get('vis_backends') or ()
    for backend in backends if isinstance(backends, (list, tuple)) else [backends]:
        name = _name(backend.get('type') if isinstance(backend, dict) else type(backend))
        package = BACKEND_PACKAGES.get(name)
        if package is not None and importlib.util.find_spec(package) is None:
            there = [name for name, needs in BACKEND_PACKAGES.items() if importlib.util.find_spec(needs) is not None]
            raise UserError(
                f'visualizer.vis_backends: {name} needs the package {package}. Run: pip install {package}\n'
                f'Or use one that needs nothing more: {", ".join(["LocalVisBackend", *there])}.'
            )


def _name(kind: object) -> str:
    """The last part of a type's name, or of a class's."""
    return str(getattr(kind, '__name__', kind)).rpartition('.')[2]
