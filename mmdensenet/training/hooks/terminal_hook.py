"""The summary of a run on the terminal, and a line for each epoch."""

import time
from datetime import timedelta
from itertools import islice

import torch
from mmengine.hooks import CheckpointHook, Hook
from mmengine.optim import AmpOptimWrapper
from mmengine.runner import EpochBasedTrainLoop

from mmdensenet import terminal
from mmdensenet.datasets.wrappers import dataset_classes
from mmdensenet.model_wrappers import optim_wrappers, unwrapped
from mmdensenet.models import DenseNet, RDNet
from mmdensenet.ops.show_engine import engine
from mmdensenet.registry import HOOKS
from mmdensenet.training.resume_state import validates_after

#: metrics in an epoch's line; the log has all of them
MOST_METRICS = 4


@HOOKS.register_module()
class TerminalHook(Hook):
    """Print a summary before training or testing, and after each epoch the loss, the metrics and the time left.

    Args:
        cost: the model's multiply-adds as text, if known.
    """

    priority = 'LOWEST'

    def __init__(self, cost: str | None = None):
        self.cost = cost
        self._start = 0.0
        self._first = 0
        self._loss: str | None = None
        self._best: dict[str, str] = {}

    # -----------------------------------------------------------------------------------------------------------------
    # Before it begins

    def before_train(self, runner) -> None:
        loop = runner.train_loop
        by_epoch = isinstance(loop, EpochBasedTrainLoop)
        number, what = (loop.max_epochs, 'epoch') if by_epoch else (loop.max_iters, 'iteration')
        length = f'{number:,} {what}{"s" if number != 1 else ""}'
        is_mixed = isinstance(optim_wrappers(runner)[0], AmpOptimWrapper)
        parts = dict(training=loop.dataloader)
        if runner.val_loop is not None:
            parts['validation'] = runner.val_loop.dataloader
        terminal.summary(
            [
                *self._model(runner),
                ('data', _data(runner, parts)),
                ('batch', f'{_batch(runner)}, {_learning_rate(runner)}, {length}'),
                *self._machine(runner, _low_precision(runner) if is_mixed else torch.float32),
            ]
        )
        self._start, self._first = time.monotonic(), runner.epoch if by_epoch else runner.iter
        self._best = _best_checkpoints(runner)

    def before_test(self, runner) -> None:
        loader = runner.test_loop.dataloader
        half = getattr(runner.test_loop, 'fp16', False)
        terminal.summary(
            [
                *self._model(runner),
                ('data', _data(runner, dict(testing=loader))),
                ('batch', f'{loader.batch_size}'),
                *self._machine(runner, _low_precision(runner) if half else torch.float32),
            ]
        )

    def _model(self, runner) -> list[tuple[str, object]]:
        source = runner._load_from and f'{"resumed from" if runner._resume else "weights of"} {runner._load_from}'
        return [
            ('config', terminal.short_path(runner.cfg.filename)),
            ('model', describe_model(unwrapped(runner.model), self.cost)),
            ('checkpoint', source),
        ]

    def _machine(self, runner, dtype: torch.dtype) -> list[tuple[str, object]]:
        device = next((parameter.device for parameter in runner.model.parameters()), torch.device('cpu'))
        places = [('work dir', runner.work_dir), ('log', runner.logger.log_file)]
        return [
            ('device', describe(device, runner.world_size)),
            ('precision', str(dtype).removeprefix('torch.') + (' (mixed)' if dtype != torch.float32 else '')),
            ('engine', describe_engine(runner.model, device, dtype)),
            ('seed', runner.seed),
            *((key, terminal.short_path(p)) for key, p in places if not terminal.is_temporary(runner.work_dir)),
        ]

    # -----------------------------------------------------------------------------------------------------------------
    # While it runs

    def after_train_epoch(self, runner) -> None:
        self._loss = _mean_loss(runner, runner.train_loop)
        by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
        if runner.val_loop is None or (by_epoch and not validates_after(runner.train_loop, runner.epoch + 1)):
            self._print_line(runner, runner.epoch + 1 if by_epoch else runner.iter, {})

    def after_val_epoch(self, runner, metrics=None) -> None:
        if isinstance(runner._train_loop, EpochBasedTrainLoop):
            self._print_line(runner, runner.epoch, metrics or {})
        elif runner._train_loop is not None and not isinstance(runner._train_loop, dict):
            self._loss = _mean_loss(runner, runner.train_loop)
            self._print_line(runner, runner.iter, metrics or {})

    def _print_line(self, runner, done: int, metrics: dict) -> None:
        loop = runner.train_loop
        by_epoch = isinstance(loop, EpochBasedTrainLoop)
        total = loop.max_epochs if by_epoch else loop.max_iters
        passed = (time.monotonic() - self._start) / max(done - self._first, 1)
        parts = [f'{"epoch" if by_epoch else "iteration"} {done:>{len(str(total))}}/{total}']
        if self._loss is not None:
            parts.append(f'loss {self._loss}')
        best = _best_checkpoints(runner)
        for name, value in islice(metrics.items(), MOST_METRICS):
            is_best = best.get(name) != self._best.get(name)
            shown = f'{value:.4f}' if isinstance(value, float) else value
            parts.append(f'{name} {shown}{" (best so far)" if is_best else ""}')
        if len(metrics) > MOST_METRICS:
            parts.append(f'{len(metrics) - MOST_METRICS} more in the log')
        self._best = best
        if done < total:
            parts.append(f'{timedelta(seconds=round(passed * (total - done)))} left')
        terminal.say('  '.join(parts))


def describe_model(model: torch.nn.Module, cost: str | None = None) -> str:
    """``'DenseNet, 7,978,856 parameters, 2.83 GFLOPs (multiply-adds) for 3x224x224'``"""
    parameters = sum(parameter.numel() for parameter in model.parameters())
    text = f'{type(getattr(model, "backbone", model)).__name__}, {parameters:,} parameters'
    return f'{text}, {cost}' if cost else text


def describe(device: torch.device, processes: int = 1) -> str:
    """A device as text, with the number of processes and threads."""
    several = f', {processes} processes' if processes > 1 else ''
    if device.type == 'cuda':
        return f'{device} ({torch.cuda.get_device_name(device)}){several}'
    threads = torch.get_num_threads()
    return f'{device}, {threads} thread{"s" if threads > 1 else ""}{several}'


def _data(runner, parts: dict) -> str:
    counts = ', '.join(f'{len(loader.dataset):,} images for {name}' for name, loader in parts.items())
    head = getattr(unwrapped(runner.model), 'head', None)
    classes = dataset_classes(next(iter(parts.values())).dataset) or ()
    number = len(classes) or getattr(head, 'num_classes', 0)
    return f'{counts}, {number:,} classes' if number else counts


def _batch(runner) -> str:
    size = getattr(runner.train_loop.dataloader.batch_sampler, 'batch_size', None) or 1
    steps = max((getattr(part, '_accumulative_counts', 1) for part in optim_wrappers(runner)), default=1)
    factors = [f'{runner.world_size} processes'] * (runner.world_size > 1) + [f'{steps} steps'] * (steps > 1)
    total = size * runner.world_size * steps
    return f'{total} ({size} x {" x ".join(factors)})' if factors else f'{size}'


def _learning_rate(runner) -> str:
    optimizer = optim_wrappers(runner)[0].optimizer
    rates = [group.get('initial_lr', group['lr']) for group in optimizer.param_groups]
    shown = f'{rates[0]:g}' if min(rates) == max(rates) else f'{min(rates):g} to {max(rates):g}'
    return f'learning rate {shown} ({type(optimizer).__name__})'


def _low_precision(runner) -> torch.dtype:
    on_cpu = next(runner.model.parameters()).is_cpu
    return getattr(runner.optim_wrapper, 'cast_dtype', None) or (torch.bfloat16 if on_cpu else torch.float16)


def describe_engine(model, device: torch.device, dtype: torch.dtype) -> str | None:
    ours = [module for module in model.modules() if isinstance(module, DenseNet | RDNet)]
    if not ours:
        return None
    if getattr(ours[0], 'engine', 'auto') == 'reference':
        return "plain torch: engine='reference'"
    return engine(device, dtype)


def _mean_loss(runner, loop) -> str | None:
    scalars = runner.message_hub.log_scalars
    if 'train/loss' not in scalars:
        return None
    count = len(loop.dataloader) if isinstance(loop, EpochBasedTrainLoop) else loop.val_interval
    return f'{scalars["train/loss"].mean(count):.4f}'


def _best_checkpoints(runner) -> dict[str, str]:
    """The best checkpoint so far for each metric of ``save_best``."""
    hook = next((hook for hook in runner.hooks if isinstance(hook, CheckpointHook)), None)
    names = getattr(hook, 'key_indicators', None) or []
    hub = runner.message_hub.runtime_info
    keys = {name: 'best_ckpt' if len(names) == 1 else f'best_ckpt_{name}' for name in names}
    return {name: hub[key] for name, key in keys.items() if key in hub}
