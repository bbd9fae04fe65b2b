"""The learning rate and momentum of a config's schedule, computed without training."""

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from mmengine.config import Config
from mmengine.hooks import ParamSchedulerHook
from mmengine.runner import IterBasedTrainLoop, Runner
from torch.utils.data import DataLoader

from mmdensenet.errors import UserError, first_line
from mmdensenet.results.figures import COLOURS, STYLES, new_figure, scale_rates, whole_numbers
from mmdensenet.training.random_state import unchanged_random_state


@dataclass
class Schedule:
    """Values over training, one per iteration, or one per epoch if they change only between epochs.

    Attributes:
        x: epochs, or iterations if the config counts those.
        unit: 'epoch' or 'iteration'.
        rates: (groups, len(x)) learning rates of the parameter groups whose values differ.
        momenta: the same for momentum, or Adam's first beta; empty if the optimizer has neither.
        end: the end of training, in ``unit``.
    """

    x: np.ndarray
    unit: str
    rates: np.ndarray
    momenta: np.ndarray
    end: int


def simulate_schedule(cfg: Config, dataset_size: int | None = None, world_size: int = 1) -> Schedule:
    """Build optimizer and schedulers as mmengine's runner does, warm-up and ``auto_scale_lr`` included, and step them.

    Args:
        cfg: a loaded config; it is not changed.
        dataset_size: images in the training set; by default those of the config's data set, which is built only if the
            schedule depends on the iterations of an epoch.
        world_size: the number of processes, which share an epoch's images.

    Returns:
        Learning rates and momenta over training.

    Raises:
        UserError: if the config lacks what a schedule needs, or the number of images matters and is not known.
    """
    for key in ('optim_wrapper', 'train_cfg', 'train_dataloader'):
        if cfg.get(key) is None:
            raise UserError(f'the config has no {key}, so it has no schedule.')
    cfg = deepcopy(cfg)
    parts = cfg.get('param_scheduler') or []
    parts = parts if isinstance(parts, (list, tuple)) else [parts]
    by_iteration = any(not part.get('by_epoch', True) or part.get('convert_to_iter_based') for part in parts)
    batch = cfg.train_dataloader.get('batch_size', 1)
    if dataset_size is None:
        dataset_size = _count_images(cfg) if by_iteration or not _by_epoch(cfg) else batch * world_size
    length = _iterations(dataset_size, batch, world_size, cfg.train_dataloader)

    with (
        tempfile.TemporaryDirectory() as folder,
        unchanged_random_state(),
        _runner(cfg, folder, length, batch) as runner,
    ):
        runner._world_size = world_size  # for auto_scale_lr
        runner._train_loop = runner.build_train_loop(runner._train_loop)
        runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
        if not hasattr(runner.optim_wrapper, 'optimizer'):
            raise UserError('optim_wrapper has several optimizers: their schedules cannot be drawn together.')
        runner.scale_lr(runner.optim_wrapper, runner.auto_scale_lr)
        if runner.param_schedulers is not None:
            runner.param_schedulers = runner.build_param_scheduler(runner.param_schedulers)
        with warnings.catch_warnings():
            # the optimizer never steps here
            warnings.filterwarnings('ignore', r'Detected call of `scheduler\.step\(\)` before')
            return _step_through(runner, length, by_iteration)


def schedule_figure(schedule: Schedule, title: str = '') -> Figure:
    """Learning rate above, momentum below."""
    panels = [('learning rate', schedule.rates)]
    if schedule.momenta.size:
        panels.append(('momentum', schedule.momenta))
    figure = new_figure(7, 2.8 * len(panels) + 0.4, title)
    for i, (name, values) in enumerate(panels):
        axes = figure.add_subplot(len(panels), 1, i + 1)
        for j, row in enumerate(values):
            axes.plot(
                [*schedule.x, schedule.end],
                [*row, row[-1]],
                color=COLOURS[j % len(COLOURS)],
                linestyle=STYLES[j % len(STYLES)],
                drawstyle='steps-post',
                label=f'parameter group {j + 1}',
            )
        if len(values) > 1:
            axes.legend(fontsize='small')
        if name == 'learning rate':
            scale_rates(axes, values)
        if name == 'momentum' and values.max() <= 1:
            axes.set_ylim(0, 1)
        whole_numbers(axes)
        axes.set(xlabel=schedule.unit, ylabel=name, xlim=(0, schedule.end))
        axes.grid(alpha=0.3)
    return figure


def _by_epoch(cfg: Config) -> bool:
    loop = str(cfg.train_cfg.get('type', ''))
    return cfg.train_cfg.get('by_epoch', 'IterBased' not in loop)


def _count_images(cfg: Config) -> int:
    from mmengine.registry import DATASETS, init_default_scope

    init_default_scope(cfg.get('default_scope') or 'mmpretrain')
    try:
        return len(DATASETS.build(cfg.train_dataloader.dataset))
    except (OSError, RuntimeError, AssertionError, UserError) as error:
        raise UserError(
            'the schedule depends on the iterations in an epoch, and the training set cannot be read '
            f'({first_line(error)}): give `dataset_size`.'
        ) from error


def _iterations(images: int, batch: int, world_size: int, loader: dict) -> int:
    """The iterations of an epoch with mmengine's default sampler, which gives all processes equally many images."""
    if images < 1 or world_size < 1:
        raise UserError('the number of images and of processes is 1 or more.')
    per_process = -(-images // world_size)
    length = per_process // batch if loader.get('drop_last') else -(-per_process // batch)
    if not length:
        raise UserError(f'{images} images do not fill one batch of {batch}, and drop_last=True drops it.')
    return length


@contextmanager
def _runner(cfg: Config, folder: str, length: int, batch: int) -> Iterator[Runner]:
    """The config's runner with a data loader that only has a length."""
    runner = Runner(
        model=cfg.model,
        work_dir=folder,
        train_dataloader=DataLoader(range(length * batch), batch_size=batch),
        train_cfg=cfg.train_cfg,
        optim_wrapper=cfg.optim_wrapper,
        param_scheduler=cfg.get('param_scheduler'),
        auto_scale_lr=cfg.get('auto_scale_lr'),
        default_scope=cfg.get('default_scope') or 'mmpretrain',
        visualizer=dict(type='Visualizer', vis_backends=[]),
        log_level='ERROR',
        experiment_name=f'schedule_{folder}',
        cfg=Config(dict(work_dir=folder)),
    )
    try:
        yield runner
    finally:
        for handler in runner.logger.handlers:
            handler.close()


def _step_through(runner: Runner, length: int, by_iteration: bool) -> Schedule:
    hook = ParamSchedulerHook()
    iterations_only = isinstance(runner.train_loop, IterBasedTrainLoop)
    rates, momenta, x = [], [], []

    def record(position: float) -> None:
        x.append(position)
        rates.append(runner.optim_wrapper.get_lr()['lr'])
        momenta.append(runner.optim_wrapper.get_momentum()['momentum'])

    if iterations_only:
        end = runner.max_iters
        for i in range(end):
            record(i)
            hook.after_train_iter(runner, i)
    else:
        end = runner.max_epochs
        for epoch in range(end):
            if not by_iteration:
                record(epoch)
            for i in range(length if by_iteration else 0):
                record(epoch + i / length)
                hook.after_train_iter(runner, i)
            hook.after_train_epoch(runner)
    return Schedule(
        np.array(x, dtype=float),
        'iteration' if iterations_only else 'epoch',
        _distinct(rates),
        _distinct(momenta),
        end,
    )


def _distinct(values: list[list[float]]) -> np.ndarray:
    """(steps, groups) to (distinct groups, steps) in the given order, without groups that are 0 throughout."""
    rows: list[np.ndarray] = []
    for row in np.array(values, dtype=float).T:
        if not any(np.array_equal(row, other) for other in rows):
            rows.append(row)
    return np.array([row for row in rows if row.any()])
