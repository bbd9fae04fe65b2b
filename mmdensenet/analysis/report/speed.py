"""Measures a classifier's speed and the memory of an evaluation on this machine."""

import platform
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mmengine.model import BaseModel

from mmdensenet.training import memory

#: seconds and steps of a measurement
SECONDS, FEWEST, MOST = 3.0, 5, 100


@dataclass(frozen=True)
class Speed:
    """Seconds of an evaluation of ``batch`` images, quartiles and median; ``peak`` is in bytes above those before
    it."""

    batch: int
    low: float
    median: float
    high: float
    steps: int
    peak: float | None

    @property
    def images_per_second(self) -> float:
        return self.batch / self.median


@torch.inference_mode()
def measure_speed(model: BaseModel, shape: tuple[int, int, int], batch: int) -> Speed:
    """Measure evaluations of random images (C, H, W), from normalised images to scores, without loading."""
    device = next(model.parameters()).device
    images = torch.randn(batch, *shape, device=device)
    wait = torch.cuda.synchronize if device.type == 'cuda' else lambda: None

    def step() -> float:
        wait()
        start = time.perf_counter()
        model(images)
        wait()
        return time.perf_counter() - start

    step()
    step()
    seconds: list[float] = []
    while len(seconds) < MOST and (len(seconds) < FEWEST or sum(seconds) < SECONDS):
        seconds.append(step())
    low, median, high = np.percentile(seconds, [25, 50, 75])
    return Speed(batch, float(low), float(median), float(high), len(seconds), _peak(step, device))


def _peak(step, device: torch.device) -> float | None:
    try:
        memory.reset_peak(device)
        before = memory.peak(device)
        step()
        return memory.peak(device) - before or None  # 0 if the step fits into memory that was freed before
    except OSError:  # only Linux reports it
        return None


def describe_device(device: torch.device) -> str:
    """The name of the device that was measured."""
    if device.type == 'cuda':
        return torch.cuda.get_device_name(device)
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(':')[2].strip() for line in lines if line.startswith('model name')]
    threads = torch.get_num_threads()
    return f'{names[0] if names else platform.machine()}, {threads} thread{"s" if threads > 1 else ""}'
