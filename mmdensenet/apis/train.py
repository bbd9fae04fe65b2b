"""Training from a config."""

import inspect
import os
from contextlib import nullcontext
from pathlib import Path

from mmengine.config import Config, ConfigDict
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from mmdensenet.checkpoints.checkpoint_content import CheckpointContentHook
from mmdensenet.checkpoints.one_run import alone_in
from mmdensenet.checkpoints.work_dir import checkpoint_to_resume, newest_that_verifies
from mmdensenet.convert.coverage import CheckpointCoverageHook
from mmdensenet.errors import UserError
from mmdensenet.extras import imported
from mmdensenet.terminal import is_first
from mmdensenet.training.end_workers import end_workers_of
from mmdensenet.training.hooks import (
    BadImagesHook,
    CheckKeysHook,
    CheckLabelsHook,
    ExactResumeHook,
    FiniteHook,
)
from mmdensenet.training.hooks.check_optimizer import require_optimizer
from mmdensenet.training.launch import LAUNCH_TIME
from mmdensenet.training.memory import out_of_memory_advised

from .follow_loop import follow_loop, require_intervals
from .runner import (
    add_if_missing,
    build_runner,
    fetch_checkpoint,
    fetch_weights_of,
    open_config,
    prepare_data,
    set_work_dir,
)


def train_model(
    config: str | Config,
    *,
    work_dir: str | None = None,
    resume: str | None = None,
    amp: bool = False,
    validate: bool = True,
    auto_scale_lr: bool = False,
    partial: bool = False,
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
        resume: 'auto' for the latest checkpoint of the run that began last in the work directory, if there is one; or a
            checkpoint's path.
        amp: mixed precision; bfloat16 on a CPU.
        validate: False trains without validation.
        auto_scale_lr: scale the learning rate by the real batch over ``auto_scale_lr.base_batch_size``.
        partial: start from a ``load_from`` that has only some of the backbone's tensors. Resuming needs all.
        tensorboard: also write TensorBoard's event files.
        pin_memory: False: no data loader pins memory.
        persistent_workers: False: data loaders restart their workers each epoch.
        launcher: 'none', 'pytorch', 'slurm' or 'mpi'.
        cfg_options: dotted keys to values, which override the config.

    Returns:
        The runner after training; ``runner.model`` is the trained model, ``runner.work_dir`` the work directory.

    Raises:
        UserError: for what the user can put right.
    """
    cfg = open_config(config, cfg_options, launcher)
    set_work_dir(cfg, work_dir)
    if not validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    if amp:
        if cfg.get('optim_wrapper') is None:
            raise UserError('`amp`: the config has no optim_wrapper.')
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
    passed_over = _set_resume(cfg, resume) if resume is not None else []
    require_intervals(cfg)
    follow_loop(cfg)
    if auto_scale_lr:
        if not (cfg.get('auto_scale_lr') or {}).get('base_batch_size'):
            raise UserError(
                '`auto_scale_lr`: the config has no auto_scale_lr.base_batch_size, the batch its lr is for.'
            )
        cfg.auto_scale_lr.enable = True
    if tensorboard:
        imported('tensorboard.summary.writer.event_file_writer', '`tensorboard` needs the package tensorboard')
        visualizer = cfg.setdefault('visualizer', ConfigDict(type='Visualizer'))
        backends = visualizer.get('vis_backends') or [dict(type='LocalVisBackend')]
        visualizer.vis_backends = [*backends, dict(type='TensorboardVisBackend')]
    prepare_data(
        cfg, 'train_dataloader', 'val_dataloader', pin_memory=pin_memory, persistent_workers=persistent_workers
    )
    if cfg.get('load_from'):
        fetch_checkpoint(cfg.load_from)
    fetch_weights_of(cfg.model)
    with alone_in(cfg.work_dir) if is_first() else nullcontext():
        return _train(cfg, partial, passed_over)


def _train(cfg: Config, partial: bool, passed_over: list[tuple[Path, str]]) -> Runner:
    runner = build_runner(cfg)
    _require_known_hook_keys(runner)
    for key in require_optimizer(cfg.get('optim_wrapper'), runner.model):
        runner.logger.warning(f'optim_wrapper.paramwise_cfg.custom_keys: {key!r} is in no name of a parameter.')
    source = cfg.get('load_from') or 'the latest checkpoint'
    runner.register_hook(CheckLabelsHook(source))
    runner.register_hook(CheckKeysHook())
    runner.register_hook(CheckpointContentHook(source))
    if cfg.get('resume'):
        runner.register_hook(CheckpointCoverageHook(source))
    else:  # before EMAHook, which reads the weights too
        hook = CheckpointCoverageHook(source, head_may_differ=True, partial=partial)
        runner.register_hook(hook, priority='VERY_HIGH')
    for path, reason in passed_over:
        runner.logger.warning(f'{path} is passed over: {reason}.')
    exact, *_ = [add_if_missing(runner, cls) for cls in (ExactResumeHook, FiniteHook, BadImagesHook)]
    try:
        with out_of_memory_advised(runner):
            runner.train()
    finally:
        end_workers_of(runner)
        exact.release()
    return runner


def _set_resume(cfg: Config, resume: str) -> list[tuple[Path, str]]:
    """Decide where training goes on: at ``resume``, or at the latest checkpoint of the work directory.

    The latest is the newest that is whole, of the run that began last in that folder; the newer ones that are not are
    returned, with the reasons.
    Without a checkpoint there ('auto'), training starts as if it were not resumed, with the config's ``load_from``. A
    job that torchrun has restarted goes on where it was killed, not at the checkpoint that its command names.
    """
    if resume != 'auto':
        started = os.environ.get(LAUNCH_TIME)
        latest = newest_that_verifies(cfg.work_dir)[0] if started else None
        if latest is None or latest.time_ns / 1e9 <= float(started):
            cfg.resume = True
            cfg.load_from = resume
            return []
    latest, passed_over = checkpoint_to_resume(cfg.work_dir)
    cfg.resume = latest is not None
    cfg.load_from = str(latest.path) if latest else cfg.get('load_from')
    return passed_over


def _require_known_hook_keys(runner: Runner) -> None:
    """Refuse keys that CheckpointHook does not have: it would fail at the first checkpoint, after an epoch."""
    known = set(inspect.signature(Runner.save_checkpoint).parameters)
    for hook in runner.hooks:
        unknown = set(getattr(hook, 'args', ())) - known if isinstance(hook, CheckpointHook) else set()
        if unknown:
            raise UserError(f'default_hooks.checkpoint: CheckpointHook has no key {sorted(unknown)[0]!r}.')
