"""Where a step's time goes on a GPU: its kernels by time, the processor's time to launch them, and how busy the GPU is.

    python -m benchmarks.profile --arch 121 --batch 256 --candidates 'mmdensenet fused channels_last' --out FILE

The table has the kernels of torch's profiler, so that tuning can go on where there is no GPU. 'launching' is the time
in which the process hands the whole step to the GPU, measured without the profiler. Where it is close to the step's own
time, the processor is what bounds the step.
"""

import argparse
import statistics
import time
from pathlib import Path

from .architectures import ARCHITECTURES
from .candidates import CANDIDATES
from .cases import MODES, Case, prepare
from .report import provenance, text_table


def main() -> None:
    parser = argparse.ArgumentParser(prog='python -m benchmarks.profile', description=__doc__.split('\n\n')[0])
    parser.add_argument('--arch', default='121', choices=list(ARCHITECTURES))
    parser.add_argument('--batch', type=int, nargs='+', default=[256])
    parser.add_argument('--size', type=int, help='height and width of the images (224, or 32 for the models for CIFAR)')
    parser.add_argument('--mode', nargs='+', choices=MODES, default=['train'])
    parser.add_argument('--dtype', default='bf16', choices=['fp32', 'bf16'])
    parser.add_argument('--candidates', nargs='+', choices=list(CANDIDATES), default=['mmdensenet fused channels_last'])
    parser.add_argument('--steps', type=int, default=5)
    parser.add_argument('--rows', type=int, default=40, help='kernels in the table')
    parser.add_argument('--out', type=Path, help='a text file that the tables are added to')
    args = parser.parse_args()
    size = args.size or (32 if ARCHITECTURES[args.arch].stem == 'cifar' else 224)
    header = ', '.join(f'{key} {value}' for key, value in provenance('cuda', 1).items() if value)
    for name in args.candidates:
        for batch in args.batch:
            for mode in args.mode:
                case = Case(args.arch, batch, size, mode, args.dtype)
                text = f'{header}\n{case}, {name}\n{profile(name, case, args.steps, args.rows)}\n'
                print(text, flush=True)
                if args.out:
                    args.out.parent.mkdir(parents=True, exist_ok=True)
                    with args.out.open('a') as file:
                        file.write(text + '\n')


def profile(name: str, case: Case, steps: int, rows: int) -> str:
    """The text for one candidate."""
    import os

    import torch

    os.environ.update(CANDIDATES[name].env)
    workload = prepare(name, case, 'cuda')
    for _ in range(5):
        workload.between()
        workload.step()
    torch.cuda.synchronize()
    seconds, launching = [], []
    for _ in range(max(10, steps)):
        workload.between()
        torch.cuda.synchronize()
        start = time.perf_counter()
        workload.step()
        launched = time.perf_counter()
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
        launching.append(launched - start)
    activities = [torch.profiler.ProfilerActivity.CUDA, torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities) as profiler:
        for _ in range(steps):
            workload.between()
            workload.step()
        torch.cuda.synchronize()
    kernels: dict[str, list[float]] = {}
    for event in profiler.events():
        if event.device_type == torch.autograd.DeviceType.CUDA:
            kernels.setdefault(event.name, []).append(event.device_time)
    busy = sum(map(sum, kernels.values())) / steps / 1e3
    count = sum(map(len, kernels.values())) / steps
    step, launch = statistics.median(seconds) * 1e3, statistics.median(launching) * 1e3
    summary = f'a step takes {step:.2f} ms, launching {launch:.2f} ms; '
    summary += f'the GPU is busy for {busy:.2f} ms with {count:.0f} kernels'
    longest = sorted(kernels.items(), key=lambda item: -sum(item[1]))[:rows]
    lines = [
        (
            f'{sum(times) / steps / 1e3:.3f}',
            f'{sum(times) / steps / 10 / busy:.1f}',
            f'{len(times) / steps:.0f}',
            name[:90],
        )
        for name, times in longest
    ]
    return f'{summary}\n' + text_table(('ms/step', '%', 'calls', 'kernel'), lines)


if __name__ == '__main__':
    main()
