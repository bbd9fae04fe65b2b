#!/usr/bin/env python
"""Training steps of one DenseNet beside its peers: time and peak memory, in one run.

Each candidate lives in a process of its own, with the same weights' shapes, inputs and optimiser. The processes take
turns, one step at a time, so that a change in the machine's speed meets all of them. Inputs are drawn before the timing
and gradients are dropped between steps. Memory is the peak over the steps minus what the process held before the first
one (model, gradients and optimiser included in that baseline: the difference is activations and temporaries).

    python benchmarks/train_step.py --arch 121 --batch 16 --size 224 --rounds 7
"""

import argparse
import csv
import multiprocessing as mp
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

RESULTS = Path(__file__).parent.parent / 'work_dirs' / 'benchmarks' / 'train_step.csv'


def ours(arch: str, **kwargs):
    from mmdensenet.models import DenseNet

    return _with_head(DenseNet(arch, **kwargs))


def mmpretrain(arch: str, **kwargs):
    from mmpretrain.models.backbones import DenseNet

    return _with_head(DenseNet(arch, **kwargs))


def torchvision(arch: str, **kwargs):
    from torchvision.models import densenet

    return getattr(densenet, f'densenet{arch}')(**kwargs)


def _with_head(backbone):
    """Backbone, global average pooling and a linear layer for 1000 classes, as torchvision's model has them."""
    import torch
    from torch import nn

    class Classifier(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = backbone
            with torch.no_grad():
                channels = backbone(torch.zeros(2, 3, 64, 64))[-1].shape[1]
            self.fc = nn.Linear(channels, 1000)

        def forward(self, x):
            return self.fc(self.backbone(x)[-1].mean((2, 3)))

    return Classifier()


#: name: (builder, its arguments, channels last)
CANDIDATES: dict[str, tuple[Callable, dict, bool]] = {
    'mmdensenet fused': (ours, dict(engine='fused'), False),
    'mmdensenet fused channels_last': (ours, dict(engine='fused'), True),
    'mmdensenet reference channels_last': (ours, dict(engine='reference'), True),
    'mmdensenet memory_efficient channels_last': (ours, dict(engine='reference', memory_efficient=True), True),
    'mmpretrain': (mmpretrain, {}, False),
    'mmpretrain memory_efficient channels_last': (mmpretrain, dict(memory_efficient=True), True),
    'torchvision': (torchvision, {}, False),
    'torchvision channels_last': (torchvision, {}, True),
    'torchvision memory_efficient channels_last': (torchvision, dict(memory_efficient=True), True),
}


def worker(connection, name: str, args: argparse.Namespace) -> None:
    """Build the candidate, then make one step whenever the parent asks, and send back its seconds."""
    import torch

    import mmdensenet  # noqa: F401  before torchvision

    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    build, kwargs, channels_last = CANDIDATES[name]
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = build(args.arch, **kwargs).to(device, memory_format=layout)
    model.train()
    images = torch.randn(args.batch, 3, args.size, args.size, device=device).to(memory_format=layout)
    labels = torch.randint(0, 1000, (args.batch,), device=device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()

    def step() -> float:
        optimizer.zero_grad(set_to_none=False)
        start = time.perf_counter()
        loss = torch.nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        loss.item()  # waits for a GPU
        return time.perf_counter() - start

    baseline = memory(device, start=True)
    connection.send('ready')
    while connection.recv():
        seconds = step()
        connection.send((seconds, memory(device) - baseline))


def memory(device: str, start: bool = False) -> float:
    """MiB in use (``start``), or at the highest since then."""
    if device == 'cuda':
        import torch

        if start:
            torch.cuda.reset_peak_memory_stats()
            return torch.cuda.memory_allocated() / 2**20
        return torch.cuda.max_memory_allocated() / 2**20
    if start:
        Path('/proc/self/clear_refs').write_text('5')  # the highest so far becomes what is in use now
    field = 'VmRSS' if start else 'VmHWM'
    line = next(line for line in Path('/proc/self/status').read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


def measure(args: argparse.Namespace) -> list[dict]:
    context = mp.get_context('spawn')
    workers = {}
    for name in args.candidates:
        here, there = context.Pipe()
        process = context.Process(target=worker, args=(there, name, args), daemon=True)
        process.start()
        there.close()
        here.recv()
        workers[name] = here
    seconds: dict[str, list[float]] = {name: [] for name in workers}
    peak = dict.fromkeys(workers, 0.0)
    for turn in range(args.rounds + 1):  # the first warms up
        for name, connection in workers.items():
            connection.send(True)
            taken, peak[name] = connection.recv()
            if turn:
                seconds[name].append(taken)
    for connection in workers.values():
        connection.send(False)

    import torch

    common = dict(
        date=time.strftime('%Y-%m-%d'),
        arch=args.arch,
        batch=args.batch,
        size=args.size,
        device=torch.cuda.get_device_name() if torch.cuda.is_available() else cpu_name(),
        threads=args.threads,
        torch=torch.__version__,
    )
    rows = []
    for name, times in seconds.items():
        low, median, high = quartiles(times)
        rows.append(
            common
            | dict(candidate=name, steps=len(times), seconds_q25=low, seconds_median=median, seconds_q75=high)
            | dict(images_per_second=args.batch / median, peak_mib=peak[name])
        )
    return rows


def cpu_name() -> str:
    """The processor's name as the kernel gives it, else its architecture."""
    info = Path('/proc/cpuinfo')
    names = [line.partition(':')[2].strip() for line in info.read_text().splitlines() if line.startswith('model name')]
    return names[0] if names else platform.machine()


def quartiles(values: list[float]) -> tuple[float, float, float]:
    if len(values) < 2:
        return (values[0],) * 3
    low, _, high = statistics.quantiles(values, n=4, method='inclusive')
    return low, statistics.median(values), high


def show(rows: list[dict]) -> None:
    first = rows[0]
    print(
        f'{"candidate":44}{"s/step":>8} {"(quartiles)":>17}{"img/s":>8}{"peak MiB":>10}{"time ratio":>12}{"memory":>8}'
    )
    for row in rows:
        spread = f'({row["seconds_q25"]:.3f} to {row["seconds_q75"]:.3f})'
        print(
            f'{row["candidate"]:44}{row["seconds_median"]:8.3f} {spread:>17}{row["images_per_second"]:8.1f}'
            f'{row["peak_mib"]:10.0f}{row["seconds_median"] / first["seconds_median"]:12.2f}'
            f'{row["peak_mib"] / first["peak_mib"]:8.2f}'
        )


def write(rows: list[dict], file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    new = not file.exists()
    with file.open('a', newline='') as out:
        writer = csv.DictWriter(out, fieldnames=list(rows[0]))
        if new:
            writer.writeheader()
        for row in rows:
            writer.writerow({key: f'{value:.4g}' if isinstance(value, float) else value for key, value in row.items()})
    print(f'rows added to {file}')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--arch', default='121', choices=['121', '161', '169', '201'])
    parser.add_argument('--batch', type=int, default=16)
    parser.add_argument('--size', type=int, default=224)
    parser.add_argument('--rounds', type=int, default=7, help='timed steps of each candidate')
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--candidates', nargs='+', default=list(CANDIDATES), choices=list(CANDIDATES), metavar='NAME')
    parser.add_argument('--csv', type=Path, default=RESULTS)
    args = parser.parse_args()
    rows = measure(args)
    show(rows)
    write(rows, args.csv)


if __name__ == '__main__':
    main()
