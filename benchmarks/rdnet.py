"""Time and memory of RDNet beside timm's: training steps and evaluation, channels last. Rows go to a CSV file.

    python -m benchmarks.rdnet
    python -m benchmarks.rdnet --arch tiny base --batch 64 --dtype bf16

The jobs take turns, each in a process of its own; every ratio is of the medians, to timm's model without checkpointing.
"""

import argparse
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from .cases import workload
from .machine import DTYPES, core_count, default_device
from .measure import Job, UnavailableError, Workload, take_turns
from .report import RESULTS, append_rows, provenance, text_table, timing

CSV = RESULTS / 'rdnet.csv'
BASELINE = 'timm'
#: of each arch, before the linear layer
CHANNELS = {'tiny': 1040, 'small': 1264, 'base': 1760, 'large': 2000}


@dataclass(frozen=True)
class Candidate:
    """``arguments`` are those of our backbone, ``checkpoint`` is timm's."""

    ours: bool = True
    arguments: dict = field(default_factory=dict)
    checkpoint: bool = False


CANDIDATES = {
    BASELINE: Candidate(ours=False),
    'timm, checkpointing': Candidate(ours=False, checkpoint=True),
    'reference': Candidate(arguments=dict(engine='reference')),
    'fused': Candidate(arguments=dict(engine='fused')),
    'fused, memory_efficient': Candidate(arguments=dict(engine='fused', memory_efficient=True)),
}


def build(candidate: Candidate, arch: str, drop_path_rate: float):
    """A classifier with 1000 classes: images to logits.

    Raises:
        UnavailableError: without timm.
    """
    from torch import nn

    from mmdensenet.models import NormedAveragePooling, RDNet

    if not candidate.ours:
        try:
            import timm
        except ImportError as error:
            raise UnavailableError(str(error)) from error
        model = timm.create_model(f'rdnet_{arch}', drop_path_rate=drop_path_rate)
        model.set_grad_checkpointing(candidate.checkpoint)
        return model

    class First(nn.Module):
        def forward(self, features):
            return features[0]

    channels = CHANNELS[arch]
    backbone = RDNet(arch, drop_path_rate=drop_path_rate, **candidate.arguments)
    return nn.Sequential(backbone, NormedAveragePooling(channels), First(), nn.Linear(channels, 1000))


def prepare(name: str, arch: str, mode: str, args: argparse.Namespace, device: str) -> Workload:
    """Forward, loss, backward and AdamW, or an evaluation."""
    import torch

    model = build(CANDIDATES[name], arch, args.drop_path_rate).to(device, memory_format=torch.channels_last)
    images = torch.randn(args.batch, 3, args.size, args.size, device=device).to(memory_format=torch.channels_last)
    labels = torch.randint(1000, (args.batch,), device=device)
    autocast = torch.autocast(device, getattr(torch, DTYPES[args.dtype]), enabled=args.dtype != 'fp32')
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4) if mode == 'train' else None
    return workload(model, model, images, labels, autocast, optimizer)


def measure(args: argparse.Namespace, device: str) -> list[dict]:
    """Rows: the candidates of one arch and mode take turns, then those of the next."""
    origin, rows = provenance(device, args.threads), []
    for arch in args.arch:
        for mode in args.mode:
            # recomputation is of training
            names = [n for n, c in CANDIDATES.items() if mode == 'train' or not (c.checkpoint or 'memory' in n)]
            jobs = {name: Job(partial(prepare, name, arch, mode, args, device)) for name in names}
            found = take_turns(jobs, args.rounds, args.threads, args.turn_seconds, one_process=args.one_process)
            for name, m in found.items():
                rows.append(
                    origin
                    | dict(arch=arch, mode=mode, batch=args.batch, size=args.size, dtype=args.dtype, candidate=name)
                    | timing(m.seconds)
                    | dict(baseline_mib=m.baseline_mib, peak_mib=m.peak_mib, parameters=m.facts['parameters'])
                )
    return rows


def show(rows: list[dict]) -> None:
    """A table: milliseconds and MiB of each candidate, and both as ratios to timm's."""
    lines = []
    for row in rows:
        key = ('arch', 'mode')
        base = next((r for r in rows if r['candidate'] == BASELINE and all(r[k] == row[k] for k in key)), None)
        ratios = ['', '']
        if base is not None:
            ratios = [f'{row[k] / base[k]:.2f}' if row[k] and base[k] else '' for k in ('seconds_median', 'peak_mib')]
        peak = '' if row['peak_mib'] is None else f'{row["peak_mib"]:.0f}'
        lines.append([row['arch'], row['mode'], row['candidate'], f'{row["seconds_median"] * 1e3:.1f}', peak, *ratios])
    print(text_table(('arch', 'mode', 'candidate', 'ms', 'MiB', 'time', 'memory'), lines))


def main() -> None:
    parser = argparse.ArgumentParser(prog='python -m benchmarks.rdnet', description='RDNet beside timm.')
    add = parser.add_argument
    add('--device', choices=['cpu', 'cuda'], help='default: a GPU if there is one')
    add('--arch', nargs='+', choices=CHANNELS, default=['tiny'])
    add('--mode', nargs='+', choices=['train', 'eval'], default=['train', 'eval'])
    add('--batch', type=int, default=8)
    add('--size', type=int, default=224)
    add('--dtype', choices=DTYPES, default='fp32', help='bf16 is autocast')
    add('--drop-path-rate', type=float, default=0.0)
    add('--rounds', type=int, default=5, help='turns of each candidate')
    add('--turn-seconds', type=float, default=1.0, help='a turn has as many steps as fit, at least one')
    add('--threads', type=int, default=core_count())
    add(
        '--one-process',
        action='store_true',
        help='all candidates in this process, for a GPU that is lent by the minute',
    )
    add('--csv', type=Path, default=CSV)
    args = parser.parse_args()
    rows = measure(args, args.device or default_device())
    append_rows(rows, args.csv)
    show(rows)
    print(f'rows added to {args.csv}')


if __name__ == '__main__':
    main()
