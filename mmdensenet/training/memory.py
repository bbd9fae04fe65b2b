"""Advice for a run out of memory: the batch size that would fit, from two measured steps."""

from __future__ import annotations

import gc
import os
import resource
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ctypes import CDLL
from pathlib import Path
from statistics import median

import torch
from mmengine.model import is_model_wrapper
from mmengine.runner import TestLoop, ValLoop

from mmdensenet.errors import UserError, option_text

_ON_CPU = "can't allocate memory"
#: usable share of the available memory; the rest is for fragmentation and for what the two steps do not show. On a CPU
#: glibc does not return all freed memory: later steps took up to 13% more than the measured ones
_SHARE, _SHARE_ON_CPU = 0.9, 0.8
_MMAP_THRESHOLD, _MMAP_MAX = -3, -4  # glibc's M_MMAP_THRESHOLD and M_MMAP_MAX
#: repetitions of the measurement
ROUNDS = 5


def is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError) and _ON_CPU in str(error)
    )


@contextmanager
def out_of_memory_advised(runner) -> Iterator[None]:
    """Raise an error of :func:`advise` in the place of one for want of memory."""
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error):
            raise UserError(advise(runner, error)) from error
        raise


def advise(runner, error: BaseException) -> str:
    """Two lines for a run out of memory: its batch size, and the largest power of two that would fit.

    Memory is a constant plus a number of bytes per image. Steps on two and on four images measure both: training steps,
    or predictions if a validation or a test ran out of memory.
    """
    part = _part(error)
    batch = getattr(runner, f'{part}_dataloader').batch_sampler.batch_size
    device = next(runner.model.parameters()).device
    what = dict(train='training', val='validation', test='testing')[part]
    first = f'out of memory on {device} in {what} with {part}_dataloader.batch_size={batch}.'
    # the frames of the failed step refer to its activations
    for link in (error, error.__context__):
        if link is not None:
            traceback.clear_frames(link.__traceback__)
    if hasattr(runner.optim_wrapper, 'zero_grad'):  # a test has no optimizer
        runner.optim_wrapper.zero_grad()
    try:
        constant, share = measure(runner, device, part=part)
        fits = largest_power_of_two(largest_batch(device, available_bytes(device), constant, share), batch)
    except Exception as failure:  # two images may not fit either
        if not is_out_of_memory(failure):
            runner.logger.warning(f'The memory of a step could not be measured: {failure}')
        return f'{first}\nSet a smaller one; steps on two and four images gave no estimate.'
    if fits == 0:
        return f'{first}\nNot even one image fits: a smaller model or smaller images are needed.'
    measured = f'measured, {constant / 2**20:,.0f} MiB and {share / 2**20:,.1f} MiB for each image'
    advice = f'{first}\nSet {option_text(f"{part}_dataloader.batch_size", fits)}: {measured}.'
    keep = f' optim_wrapper.accumulative_counts={-(-batch // fits)} keeps the batch.'
    return advice + keep if part == 'train' else advice


def _part(error: BaseException) -> str:
    """The loop in which an error was raised: 'train', 'val' or 'test'."""
    loops = [frame.f_locals.get('self') for frame, _ in traceback.walk_tb(error.__traceback__)]
    if any(isinstance(loop, ValLoop) for loop in loops):
        return 'val'
    return 'test' if any(isinstance(loop, TestLoop) for loop in loops) else 'train'


def largest_power_of_two(number: int, below: int) -> int:
    """At most ``number`` and less than ``below``; 0 if there is none."""
    power = 1
    while power * 2 <= number and power * 2 < below:
        power *= 2
    return power if power <= number and power < below else 0


def largest_batch(device: torch.device, available: float, constant: float, share: float) -> int:
    """The number of images that fit into this many bytes; a tenth stays free on a GPU, a fifth on a CPU."""
    usable = _SHARE_ON_CPU if device.type == 'cpu' else _SHARE
    return max(0, int((usable * available - constant) / share))


def measure(runner, device: torch.device, images: tuple[int, int] = (2, 4), part: str = 'train') -> tuple[float, float]:
    """The bytes that do not depend on the batch and the bytes per image, from steps on ``images`` images.

    Args:
        part: 'train' for training steps, 'val' or 'test' for predictions.
    """
    needed, peaks = [], []
    with _large_blocks_apart():
        for _ in range(ROUNDS):
            for count in images:
                reset_peak(device)
                before = peak(device)  # the system may reclaim pages between two steps
                _step(runner, count, part)
                peaks.append(peak(device))
                needed.append(peaks[-1] - before)
    # medians, each of its own: the system may reclaim pages within a step too
    few, many = (median(needed[i::2]) for i in range(2))
    share = max((many - few) / (images[1] - images[0]), 1.0)
    constant = max(median(peaks[1::2]) - images[1] * share, 0.0)
    if part == 'train' and not runner.optim_wrapper.optimizer.state:  # the first step allocates it
        constant += state_bytes(runner.optim_wrapper.optimizer)
    return constant, share


@contextmanager
def _large_blocks_apart() -> Iterator[None]:
    """Let glibc map each block of a megabyte separately, so that holes in its heap do not count."""
    mallopt = getattr(CDLL(None), 'mallopt', lambda parameter, value: 0)
    mallopt(_MMAP_MAX, 1 << 16)
    mallopt(_MMAP_THRESHOLD, 1 << 20)
    try:
        yield
    finally:
        mallopt(_MMAP_THRESHOLD, 32 << 20)  # the maximum of glibc's dynamic threshold


def state_bytes(optimizer: torch.optim.Optimizer) -> int:
    """The bytes of the optimiser's state: two moments per parameter for Adam and its kind, else momentum."""
    moments = 2 if 'betas' in optimizer.defaults else 1
    return moments * sum(p.numel() * p.element_size() for group in optimizer.param_groups for p in group['params'])


def _step(runner, images: int, part: str = 'train') -> None:
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    loader = getattr(runner, f'{part}_dataloader')
    samples = [loader.dataset[index % len(loader.dataset)] for index in range(images)]
    if part != 'train':
        model.eval()
        with torch.no_grad():
            (model.val_step if part == 'val' else model.test_step)(loader.collate_fn(samples))
        return
    with runner.optim_wrapper.optim_context(model):
        data = model.data_preprocessor(loader.collate_fn(samples), True)
        losses = model(**data, mode='loss') if isinstance(data, dict) else model(*data, mode='loss')
    model.parse_losses(losses)[0].backward()
    runner.optim_wrapper.zero_grad()


def reset_peak(device: torch.device) -> None:
    if device.type == 'cuda':
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    else:
        gc.collect()
        with suppress(AttributeError, OSError):  # glibc only: unreturned free memory counts as resident
            CDLL(None).malloc_trim(0)
        Path('/proc/self/clear_refs').write_text('5')  # Linux: the peak of the resident memory


def peak(device: torch.device) -> int:
    if device.type == 'cuda':
        return torch.cuda.max_memory_allocated(device)
    status = Path('/proc/self/status').read_text()
    return int(status.split('VmHWM:')[1].split()[0]) * 1024


def available_bytes(device: torch.device) -> int:
    """The bytes that this process may use in all, given the device's memory, resource limits and control group."""
    if device.type == 'cuda':
        free, total = torch.cuda.mem_get_info(device)
        share = getattr(torch.cuda.memory, 'get_per_process_memory_fraction', lambda device: 1.0)(device)
        return min(free + torch.cuda.memory_reserved(device), int(share * total))
    memory = dict(line.split(':') for line in Path('/proc/meminfo').read_text().splitlines())
    resident = int(Path('/proc/self/statm').read_text().split()[1]) * os.sysconf('SC_PAGE_SIZE')
    found = [int(memory['MemAvailable'].split()[0]) * 1024 + resident]
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY:
        found.append(limit)
    group = Path('/sys/fs/cgroup/memory.max')
    if group.is_file() and group.read_text().strip().isdigit():
        found.append(int(group.read_text()))
    return min(found)
